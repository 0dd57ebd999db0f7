//! The async run loop.

use super::{
    call::Call,
    claim::Taken,
    course::Plan,
    ending::{
        Asked, Ended, MarkQuestion, Next, RolledBack, Step, asks_first, began_nothing,
        begin_failed, claim_failed, is_there, not_asked, step,
    },
    idle,
    keyed::Keyed,
    postmortem::PostMortem,
    progress::Progress,
    returned::RunError,
    verify::{Witness, verify},
};
use crate::{
    clock,
    dialect::{Ask, Dialect, begin::Begin, failure::Failure, limits::Limits},
    driver::{
        account::{Account, Parting},
        hooks::AsyncHook,
        session::{AsyncSession, AsyncSource, AsyncWork, CallersError, Question, Standing},
    },
    error::ErrorKind,
    guard::{
        holding::Stage,
        session_state::keep_session_state,
        takers::taking,
        within::{raise_all, within},
    },
    retry::remedy::Phase,
};
use futures_util::future::{Either, select};
use std::{
    future::Future,
    ops::ControlFlow,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::Instrument;

/// How long a closure that failed is waited for with a statement still in flight, before its connection is closed.
pub(super) const PATIENCE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Runs one transaction to its end: attempts, pauses, hooks.
///
/// # Errors
/// [`RunError::Callers`] where the caller gets its closure's own error, [`RunError::Ours`] where it gets that one.
pub async fn run<W: AsyncWork>(call: Call, work: &mut W) -> Result<Keyed<()>, RunError> {
    let mut progress = Progress::start(call)?;
    let span = progress.span.clone();
    let attempts = in_a_box(async move {
        loop {
            let plan = progress.next_attempt()?;
            let (ended, account) = attempt(&mut progress, plan, work).await;
            let next = progress.conclude(ended, account);
            match follow(&mut progress, work, next).await {
                ControlFlow::Break(result) => return result,
                ControlFlow::Continue(pause) => {
                    if !progress.is_in_doubt() {
                        work.forget();
                    }
                    if let Some(pause) = pause {
                        work.sleep(pause).await;
                    }
                }
            }
        }
    });
    attempts.instrument(span).await
}

/// Runs the hooks that are due and verifies a COMMIT in doubt, until the transaction has ended or another attempt is to follow
/// after a pause, if there is one.
pub(super) async fn follow<C: AsyncSource>(
    progress: &mut Progress<AsyncHook>,
    source: &mut C,
    mut next: Next,
) -> ControlFlow<Result<Keyed<()>, RunError>, Option<Duration>> {
    loop {
        while let Some((account, committed)) = progress.take_due() {
            account.run_hooks(committed).await;
        }
        match next {
            Next::Return(result) => return ControlFlow::Break(result),
            Next::Pause(pause) => return ControlFlow::Continue(Some(pause)),
            Next::Rerun => return ControlFlow::Continue(None),
            Next::Verify(witness) => {
                let settings = progress.settings();
                let verdict = verify(source, &settings, progress.dialect(), &witness).await;
                next = progress.resolve(verdict);
            }
        }
    }
}

/// A future in a box of its own, so that what is around it moves a pointer and handlers stay small; written where it stays,
/// because `Box::pin` makes it on the stack and copies all of its kilobytes.
pub(super) fn in_a_box<F: Future>(future: F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), future))
}

pub(super) type Attempted = (Ended, Account<AsyncHook>);

/// A transaction that was begun, on its connection.
pub(super) struct Begun<S> {
    pub(super) session: S,
    begin: Begin,
    began: Instant,
}

impl<S> Begun<S> {
    /// On the same connection, in another form.
    pub(super) fn map<T>(self, form: impl FnOnce(S) -> T) -> Begun<T> {
        let Self { session, begin, began } = self;
        Begun { session: form(session), begin, began }
    }
}

/// One attempt, from a connection of the pool until that is given back or closed.
async fn attempt<W: AsyncWork>(
    progress: &mut Progress<AsyncHook>,
    plan: Plan,
    work: &mut W,
) -> Attempted {
    match start(progress, plan, work).await {
        ControlFlow::Continue(begun) => {
            let alarm = progress.deadline().map(|deadline| work.sleep(left_until(deadline)));
            inside(progress, begun, alarm, async |session| work.body(session).await).await
        }
        ControlFlow::Break(attempted) => attempted,
    }
}

/// The rest of an attempt that has begun: the closure, until `alarm` rings, and the end.
pub(super) async fn inside<S: AsyncSession>(
    progress: &mut Progress<AsyncHook>,
    mut begun: Begun<S>,
    alarm: Option<impl Future<Output = ()>>,
    body: impl AsyncFnOnce(&mut S) -> Result<(), CallersError>,
) -> Attempted {
    let session = &mut begun.session;
    let scope = progress.scope(session.connection(), session.account());
    let body = within(Arc::clone(&scope), async {
        let result = body(session).await;
        if result.is_ok() {
            keep_session_state(&scope, &session.account().notes.session);
        }
        result
    });
    let Some(result) = before(alarm, body).await else {
        raise_all(&scope).await;
        return deadline_passed(begun.session).await;
    };
    let patience =
        if result.is_ok() { progress.settings().answer_timeout } else { PATIENCE_AFTER_ERROR };
    finish(progress, begun, result, patience).await
}

/// From a connection of the pool to a transaction that has begun and claimed its key; or how the attempt has ended before.
pub(super) async fn start<C: AsyncSource>(
    progress: &mut Progress<AsyncHook>,
    plan: Plan,
    source: &mut C,
) -> ControlFlow<Attempted, Begun<C::Session>> {
    let not_started =
        |phase, failure, account| ControlFlow::Break((Ended::NotStarted(phase, failure), account));
    let settings = progress.settings();
    let opening = source.open(settings.of_session(progress.remaining()));
    let opened = taking(&progress.call.shared.holdings, opening).await;
    progress.checked_out();
    let mut session = match opened {
        Ok(session) => session,
        Err(failure) => {
            let failure = progress.with_holders(failure);
            return not_started(Phase::Checkout, failure, Account::new());
        }
    };
    let holding = progress.hold(session.connection());
    session.account().holds(holding);
    session.account().begin(&progress.call.named.name, progress.call.notes());
    if let Some(sql) = progress.asks_for_its_database() {
        let answer = session.ask(Question::rare(sql)).await.unwrap_or_default();
        if let Some(outer) = progress.identified(answer) {
            session.give_back();
            return ControlFlow::Break((Ended::Nested(outer), Account::new()));
        }
    }
    let limits = match limits_of(&mut session, progress.dialect()).await {
        Ok(limits) => limits,
        Err(failure) => return not_started(Phase::Begin, failure, Account::new()),
    };
    let begin = progress.begin(plan, limits);
    let began = clock::now();
    if let Err(failure) = session.begin(&begin).await {
        if began_nothing(&failure) {
            session.give_back();
        }
        let failure = begin_failed(failure, progress.call.on_held);
        return not_started(Phase::Begin, failure, Account::new());
    }
    match prepare(progress, &mut session).await {
        Ok(None) => {}
        Ok(Some(taken)) => {
            end(session, Step::RollBack, progress.dialect()).await;
            return ControlFlow::Break((Ended::KeyTaken(taken), Account::new()));
        }
        Err(failure) => {
            let standing = session.settle(settings.answer_timeout).await;
            let account = end(session, step(false, &standing), progress.dialect()).await;
            return not_started(Phase::Begin, claim_failed(failure, standing), account);
        }
    }
    session.account().enters(Stage::Runs);
    ControlFlow::Continue(Begun { session, begin, began })
}

/// The limits that the session has of its own, read where the connection doesn't know them; `None` if they aren't told.
async fn limits_of<S: AsyncSession>(
    session: &mut S,
    dialect: &dyn Dialect,
) -> Result<Option<Limits>, Failure> {
    let Some(sql) = dialect.question(Ask::Limits) else { return Ok(None) };
    if let Some(known) = session.known_limits().await? {
        return Ok(Some(known));
    }
    match session.ask(Question::rare(sql)).await {
        Ok(answer) => {
            let limits = answer.and_then(|answer| dialect.limits(&answer));
            limits.into_iter().for_each(|limits| session.keep_limits(limits));
            Ok(limits)
        }
        Err(failure) if failure.is_lost() => Err(failure),
        // What is wrong with the connection is BEGIN's to find out; a database that can't say has nothing to keep to.
        Err(_) => Ok(None),
    }
}

/// Claims the key of the call, if it has one, and then makes the application's own settings, if they aren't made yet. Returns
/// why the key can't be claimed.
async fn prepare<S: AsyncSession>(
    progress: &mut Progress<AsyncHook>,
    session: &mut S,
) -> Result<Option<Taken>, Failure> {
    let Some(binds) = progress.key_binds() else { return Ok(None) };
    let Some(mut claim) = progress.claim(&binds) else { return Ok(None) };
    let taken = loop {
        progress.awaits_key = claim.awaits_key();
        let answer = session.ask(claim.question()).await?;
        if let ControlFlow::Break(taken) = claim.takes(answer.as_deref()) {
            break taken;
        }
    };
    if taken.is_some() {
        return Ok(taken);
    }
    progress.key_was_new();
    if let Some((sql, binds)) = progress.sets_behind_claim() {
        session.ask(Question::new(sql, &binds)).await?;
    }
    Ok(None)
}

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
    } else if idle::asks_first(session.account(), &standing, progress.idle_timeout())
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
            let is_unsure = session.is_unsure();
            let parting = Inquiry {
                mark: is_unsure.then_some(question.as_ref()),
                deadlock: deadlock.as_ref(),
                dialect,
            };
            let Parted { account, rolled_back, asked, answer } =
                end_asking(session, step, &parting).await;
            let standing = match deadlock {
                Some(deadlock) => deadlock.explain(standing, answer, &progress.call, &account),
                None => standing,
            };
            let standing = match (&standing, rolled_back) {
                _ if is_unsure => asked.after(rolled_back, standing),
                // It was healthy as far as was seen, and not open any more.
                (Standing::Open(_), RolledBack::Before) => Standing::Ended,
                _ => standing,
            };
            (Ended::NotCommitted(result, standing), account)
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
    let inquiry = Inquiry { mark: None, deadlock: None, dialect };
    let Parted { account, rolled_back, .. } = end_asking(session, Step::RollBack, &inquiry).await;
    let ended = match rolled_back {
        // It was healthy as far as was seen, and not open any more.
        RolledBack::Before => Ended::NotCommitted(Ok(()), Standing::Ended),
        RolledBack::Now | RolledBack::No | RolledBack::Lost => Ended::RolledBackToRerun,
    };
    (ended, account)
}

/// Ends a transaction that isn't committed, and gives its connection back if nothing is in doubt.
async fn end<S: AsyncSession>(session: S, step: Step, dialect: &dyn Dialect) -> Account<AsyncHook> {
    let inquiry = Inquiry { mark: None, deadlock: None, dialect };
    end_asking(session, step, &inquiry).await.account
}

/// What is left when a transaction that isn't committed has ended.
struct Parted {
    account: Account<AsyncHook>,
    rolled_back: RolledBack,
    /// What the server said of its mark, where it was asked.
    asked: Asked,
    /// What it said of a deadlock.
    answer: Option<String>,
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

/// What to ask about a transaction that isn't committed, once it has ended.
struct Inquiry<'q> {
    /// Where something ran unseen: whether it was still the one that was begun, if that can be asked.
    mark: Option<Option<&'q MarkQuestion<'q>>>,
    deadlock: Option<&'q PostMortem>,
    dialect: &'q dyn Dialect,
}

/// Ends a transaction that isn't committed; where something ran unseen, asks for its `mark` then; and asks who the
/// others were that it died with. Gives the connection back if nothing is in doubt, and nothing is left on it that would meet
/// the next attempt.
async fn end_asking<S: AsyncSession>(mut session: S, step: Step, inquiry: &Inquiry<'_>) -> Parted {
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
    Parted { account, rolled_back, asked: asked_of_mark, answer }
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

/// `body`, or `None` if `alarm` rings first.
async fn before<F: Future>(alarm: Option<impl Future<Output = ()>>, body: F) -> Option<F::Output> {
    let Some(alarm) = alarm else { return Some(body.await) };
    match select(pin!(body), pin!(alarm)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(((), _)) => None,
    }
}

pub(super) fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(clock::now())
}
