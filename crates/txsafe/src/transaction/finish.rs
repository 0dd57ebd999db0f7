//! How an attempt ends: by COMMIT, by ROLLBACK, or by closing its connection.

use super::{
    ending::{
        Asked, Ended, Inquiry, MarkQuestion, Parted, RolledBack, Step, asks_first, is_there,
        not_asked, step,
    },
    idle,
    postmortem::PostMortem,
    progress::Progress,
    start::{Attempted, Begun},
    verify::Witness,
};
use crate::{
    clock,
    dialect::{Ask, Dialect},
    driver::{
        account::{Account, Parting},
        hooks::AsyncHook,
        session::{AsyncSession, CallersError, Question, Standing},
    },
    error::ErrorKind,
    guard::{holding::Stage, within::raise_all},
};
use std::time::{Duration, Instant};

/// Ends an attempt whose deadline has passed in the middle of whatever it did: its connection is closed.
pub(super) async fn deadline_passed<S: AsyncSession>(mut session: S) -> Attempted {
    let kind = match session.settle(Duration::ZERO).await {
        Standing::Ended => ErrorKind::EndedByClosure,
        _ if session.is_unsure() => ErrorKind::Unidentified,
        _ => ErrorKind::DeadlineExceeded,
    };
    (Ended::DeadlinePassed(kind), session.account().take())
}

/// Ends an attempt whose closure has returned: by COMMIT, ROLLBACK, or by closing its connection. `patience` is the longest to
/// wait for what is in flight.
pub(super) async fn finish<S: AsyncSession>(
    progress: &mut Progress<AsyncHook>,
    begun: Begun<S>,
    result: Result<(), CallersError>,
    patience: Duration,
) -> Attempted {
    let Begun { mut session, begin, began } = begun;
    session.account().enters(Stage::Ends);
    let settings = progress.settings();
    // The caller gets what the closure returned, whatever becomes of the transaction.
    let is_marked = result.is_ok() && session.account().is_rollback_only();
    let result = if is_marked { Err(CallersError) } else { result };
    let mut standing = session.settle(patience).await;
    if let (true, Standing::Open(_)) = (is_marked, &standing) {
        standing = Standing::Open(None);
    }
    if let Some(by_hand) = progress.by_hand.take() {
        // What runs on a lent connection isn't in the trail.
        if !session.is_unsure() {
            by_hand.gaps(&session.account().trail);
        }
        if result.is_ok() {
            by_hand.keep_session_state(&session.account().notes.session);
            by_hand.raise().await;
        }
    }
    let dialect = progress.dialect();
    let patience = settings.answer_timeout;
    let question = begin.mark().and_then(|mark| MarkQuestion::new(mark, dialect, patience));
    if session.is_unsure() && asks_first(result.is_ok(), &standing) {
        standing = asked(&mut session, question.as_ref()).await.inside(standing);
    } else if idle::asks_first(session.account(), &standing, progress.idle_limit())
        && let Some(question) = is_there(question.as_ref(), dialect)
        && let Err(failure) = session.ask(question).await
    {
        standing = not_asked(failure);
    }
    if let Some(scope) = progress.compare(&session.account().trail, result, is_marked, &standing) {
        raise_all(&scope).await;
    }
    match (step(result.is_ok(), &standing), result) {
        (Step::Commit, Ok(())) if settings.dry_run => dry_run(session, dialect).await,
        (Step::Commit, Ok(())) if progress.is_to_rerun() => {
            roll_back_to_rerun(session, dialect).await
        }
        (Step::Commit, Ok(())) => commit(progress, session, began).await,
        (step, result) => {
            let deadlock = PostMortem::of(&standing);
            let parting = Inquiry {
                mark: session.is_unsure().then_some(question.as_ref()),
                deadlock: deadlock.as_ref(),
                dialect,
            };
            let parted = end_asking(session, step, &parting).await;
            progress.may_hold_key &= parted.rolled_back != RolledBack::Now;
            parted.ended(result, standing, deadlock, &progress.call)
        }
    }
}

/// COMMIT, after asking for what is needed to verify it.
async fn commit<S: AsyncSession>(
    progress: &mut Progress<AsyncHook>,
    mut session: S,
    began: Instant,
) -> Attempted {
    let settings = progress.settings();
    let mut witness = None;
    if settings.verify_commit
        && let Some(sql) = progress.dialect().question(Ask::Witness)
    {
        match session.ask(Question::new(sql, &[])).await {
            Ok(answer) => witness = answer.as_deref().and_then(Witness::read),
            Err(failure) => {
                let standing = not_asked(failure);
                let account = end(session, step(true, &standing), progress.dialect()).await;
                return (Ended::NotCommitted(Ok(()), standing), account);
            }
        }
    }
    progress.committing();
    let answer = session.commit(progress.commit_patience()).await;
    let account = session.account().take();
    let Err(failure) = answer else {
        if account.parting(true) == Parting::GiveBack {
            session.give_back();
        }
        return (Ended::Committed(clock::since(began)), account);
    };
    // A server that refused COMMIT has ended the transaction, and its connection is as good as before.
    if !failure.is_lost() && session.settle(settings.answer_timeout).await == Standing::Ended {
        part(session, account.parting(false), progress.dialect()).await;
    }
    (Ended::CommitFailed(failure, witness), account)
}

/// Rolls back what would have been committed, once the constraints that COMMIT checks are checked.
async fn dry_run<S: AsyncSession>(mut session: S, dialect: &dyn Dialect) -> Attempted {
    if let Some(sql) = dialect.question(Ask::DeferredConstraints)
        && let Err(failure) = session.ask(Question::new(sql, &[])).await
    {
        let standing = not_asked(failure.clone());
        let account = end(session, step(true, &standing), dialect).await;
        let ended = match standing {
            // COMMIT was never sent: nothing is in doubt.
            Standing::Lost(_) => Ended::NotCommitted(Ok(()), standing),
            _ => Ended::CommitFailed(failure, None),
        };
        return (ended, account);
    }
    let account = end(session, Step::RollBack, dialect).await;
    (Ended::NotCommitted(Err(CallersError), Standing::Open(None)), account)
}

/// Rolls back what would have been committed, to run its closure again.
async fn roll_back_to_rerun<S: AsyncSession>(session: S, dialect: &dyn Dialect) -> Attempted {
    let inquiry = Inquiry::nothing(dialect);
    let Parted { account, rolled_back, .. } = end_asking(session, Step::RollBack, &inquiry).await;
    (rolled_back.to_rerun(), account)
}

/// Ends a transaction that isn't committed, and gives its connection back if nothing is in doubt.
pub(super) async fn end<S: AsyncSession>(
    session: S,
    step: Step,
    dialect: &dyn Dialect,
) -> Account<AsyncHook> {
    let inquiry = Inquiry::nothing(dialect);
    end_asking(session, step, &inquiry).await.account
}

/// Asks whether a transaction in which something ran unseen is still the one that was begun, until its answer comes.
async fn asked<S: AsyncSession>(session: &mut S, question: Option<&MarkQuestion<'_>>) -> Asked {
    let Some(question) = question else { return Asked::in_vain() };
    let (mut asked, until) = (Asked::default(), clock::now() + question.patience);
    loop {
        let answer = session.ask(question.question()).await;
        if !asked.takes(answer, question) || clock::now() >= until {
            return asked;
        }
    }
}

/// Ends a transaction that isn't committed; where something ran unseen, asks for its `mark` then; and asks who the
/// others were that it died with. Gives the connection back if nothing is in doubt, and nothing is left on it that would meet
/// the next attempt.
async fn end_asking<S: AsyncSession>(
    mut session: S,
    step: Step,
    inquiry: &Inquiry<'_>,
) -> Parted<AsyncHook> {
    let Inquiry { mark, deadlock, dialect } = *inquiry;
    let is_replaced = step == Step::Replace;
    let rolled_back = match step {
        Step::RollBack => RolledBack::of(session.rollback().await),
        // Closing it rolls back, too; but then it can't be asked.
        Step::Replace if mark.is_some() => RolledBack::of(session.rollback().await),
        Step::Replace | Step::Commit | Step::Close => RolledBack::Lost,
    };
    let is_over = matches!(rolled_back, RolledBack::Now | RolledBack::Before);
    let mut is_clean = is_over && !is_replaced;
    let mut asked_of_mark = Asked::default();
    if let Some(mark) = mark.filter(|_| rolled_back != RolledBack::Lost) {
        asked_of_mark = asked(&mut session, mark).await;
        is_clean &= asked_of_mark.is_in_step();
    }
    let mut answer = None;
    let binds = deadlock.filter(|_| is_clean).and_then(PostMortem::binds);
    if let (Some([processes, ago]), Some(sql)) = (&binds, dialect.question(Ask::Opponents)) {
        let binds = [&**processes, &**ago];
        match session.ask(Question::new(sql, &binds)).await {
            Ok(told) => answer = told,
            // It is in an unknown state, and closed.
            Err(_) => is_clean = false,
        }
    }
    let account = session.account().take();
    if is_clean {
        part(session, account.parting(false), dialect).await;
    }
    Parted { account, rolled_back, asked: mark.map(|_| asked_of_mark), answer }
}

/// Parts with the connection of a transaction that isn't committed.
async fn part<S: AsyncSession>(mut session: S, parting: Parting, dialect: &dyn Dialect) {
    match parting {
        Parting::GiveBack => session.give_back(),
        Parting::Close => {}
        Parting::UnlockAndClose => {
            if let Some(sql) = dialect.question(Ask::UnlockAll) {
                drop(session.ask(Question::rare(sql)).await);
            }
        }
    }
}
