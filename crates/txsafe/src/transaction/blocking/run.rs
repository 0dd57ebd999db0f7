//! The blocking run loop: the twin of the async one, decision for decision.

use crate::{
    clock::{
        self,
        excused::{Excuse, Excusing},
    },
    dialect::{Ask, Dialect, begin::Begin, failure::Failure, limits::Limits},
    driver::{
        account::{Account, Parting},
        hooks::BlockingHook,
        session::{CallersError, Question, Session, Source, Standing, Work},
    },
    error::ErrorKind,
    guard::{
        holding::Stage,
        session_state::keep_session_state,
        takers::taking_blocking,
        within::{raise_all_blocking, within_blocking},
    },
    retry::remedy::Phase,
    transaction::{
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
        verify::{Witness, verify_blocking},
    },
};
use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

/// Runs one transaction to its end: attempts, pauses, hooks.
///
/// A deadline ends attempts and pauses as it does in the async loop, but a closure that is running is left to its
/// statements' timeouts, which end at the deadline too.
///
/// # Errors
/// [`RunError::Callers`] where the caller gets its closure's own error, [`RunError::Ours`] where it gets that one.
pub fn run<W: Work>(call: Call, work: &mut W) -> Result<Keyed<()>, RunError> {
    let mut progress = Progress::start(call)?;
    let _inside = progress.span.clone().entered();
    // To the one outside it is all the same, and of that has been told.
    let _told = progress.course.nested.then(|| Excusing::start(Excuse::Told));
    loop {
        let plan = progress.next_attempt()?;
        let (ended, account) = attempt(&mut progress, plan, work);
        let next = progress.conclude(ended, account);
        match follow(&mut progress, work, next) {
            ControlFlow::Break(result) => return result,
            ControlFlow::Continue(pause) => {
                if !progress.is_in_doubt() {
                    work.forget();
                }
                if let Some(pause) = pause {
                    work.sleep(pause);
                }
            }
        }
    }
}

/// Runs the hooks that are due and verifies a COMMIT in doubt, until the transaction has ended or another attempt is to follow
/// after a pause, if there is one.
pub(super) fn follow<C: Source>(
    progress: &mut Progress<BlockingHook>,
    source: &mut C,
    mut next: Next,
) -> ControlFlow<Result<Keyed<()>, RunError>, Option<Duration>> {
    loop {
        while let Some((account, committed)) = progress.take_due() {
            account.run_hooks_blocking(committed);
        }
        match next {
            Next::Return(result) => return ControlFlow::Break(result),
            Next::Pause(pause) => return ControlFlow::Continue(Some(pause)),
            Next::Rerun => return ControlFlow::Continue(None),
            Next::Verify(witness) => {
                let settings = progress.settings();
                let verdict = verify_blocking(source, &settings, progress.dialect(), &witness);
                next = progress.resolve(verdict);
            }
        }
    }
}

pub(super) type Attempted = (Ended, Account<BlockingHook>);

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
fn attempt<W: Work>(progress: &mut Progress<BlockingHook>, plan: Plan, work: &mut W) -> Attempted {
    let mut begun = match start(progress, plan, work) {
        ControlFlow::Continue(begun) => begun,
        ControlFlow::Break(attempted) => return attempted,
    };
    let session = &mut begun.session;
    let scope = progress.scope(session.connection(), session.account());
    let gaps = session.account().notes.gaps.clone();
    let result = within_blocking(Arc::clone(&scope), &gaps, || {
        let result = work.body(session);
        if result.is_ok() {
            keep_session_state(&scope, &session.account().notes.session);
        }
        result
    });
    finish(progress, begun, result)
}

/// From a connection of the pool to a transaction that has begun and claimed its key; or how the attempt has ended before.
pub(super) fn start<C: Source>(
    progress: &mut Progress<BlockingHook>,
    plan: Plan,
    source: &mut C,
) -> ControlFlow<Attempted, Begun<C::Session>> {
    let not_started =
        |phase, failure, account| ControlFlow::Break((Ended::NotStarted(phase, failure), account));
    let settings = progress.settings();
    let options = settings.of_session(progress.remaining());
    let opened = taking_blocking(&progress.call.shared.holdings, || source.open(options));
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
        let answer = session.ask(Question::rare(sql)).unwrap_or_default();
        if let Some(outer) = progress.identified(answer) {
            session.give_back();
            return ControlFlow::Break((Ended::Nested(outer), Account::new()));
        }
    }
    let limits = match limits_of(&mut session, progress.dialect()) {
        Ok(limits) => limits,
        Err(failure) => return not_started(Phase::Begin, failure, Account::new()),
    };
    let begin = progress.begin(plan, limits);
    let began = clock::now();
    if let Err(failure) = session.begin(&begin) {
        if began_nothing(&failure) {
            session.give_back();
        }
        let failure = begin_failed(failure, progress.call.on_held);
        return not_started(Phase::Begin, failure, Account::new());
    }
    match prepare(progress, &mut session) {
        Ok(None) => {}
        Ok(Some(taken)) => {
            end(session, Step::RollBack, progress.dialect());
            return ControlFlow::Break((Ended::KeyTaken(taken), Account::new()));
        }
        Err(failure) => {
            let standing = session.settle(settings.answer_timeout);
            let account = end(session, step(false, &standing), progress.dialect());
            return not_started(Phase::Begin, claim_failed(failure, standing), account);
        }
    }
    session.account().enters(Stage::Runs);
    ControlFlow::Continue(Begun { session, begin, began })
}

/// The limits that the session has of its own, read where the connection doesn't know them; `None` if they aren't told.
fn limits_of<S: Session>(
    session: &mut S,
    dialect: &dyn Dialect,
) -> Result<Option<Limits>, Failure> {
    let Some(sql) = dialect.question(Ask::Limits) else { return Ok(None) };
    if let Some(known) = session.known_limits()? {
        return Ok(Some(known));
    }
    match session.ask(Question::rare(sql)) {
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
fn prepare<S: Session>(
    progress: &mut Progress<BlockingHook>,
    session: &mut S,
) -> Result<Option<Taken>, Failure> {
    let Some(binds) = progress.key_binds() else { return Ok(None) };
    let Some(mut claim) = progress.claim(&binds) else { return Ok(None) };
    let taken = loop {
        progress.awaits_key = claim.awaits_key();
        let answer = session.ask(claim.question())?;
        if let ControlFlow::Break(taken) = claim.takes(answer.as_deref()) {
            break taken;
        }
    };
    if taken.is_some() {
        return Ok(taken);
    }
    progress.key_was_new();
    if let Some((sql, binds)) = progress.sets_behind_claim() {
        session.ask(Question::new(sql, &binds))?;
    }
    Ok(None)
}

/// Ends an attempt whose deadline has passed before COMMIT: its connection is closed.
pub(super) fn deadline_passed<S: Session>(mut session: S) -> Attempted {
    let kind = match session.settle(Duration::ZERO) {
        Standing::Ended => ErrorKind::EndedByClosure,
        _ if session.is_unsure() => ErrorKind::Unidentified,
        _ => ErrorKind::DeadlineExceeded,
    };
    (Ended::DeadlinePassed(kind), session.account().take())
}

/// Ends an attempt whose closure has returned: by COMMIT, ROLLBACK, or by closing its connection.
pub(super) fn finish<S: Session>(
    progress: &mut Progress<BlockingHook>,
    begun: Begun<S>,
    result: Result<(), CallersError>,
) -> Attempted {
    let Begun { mut session, begin, began } = begun;
    session.account().enters(Stage::Ends);
    let settings = progress.settings();
    // The caller gets what the closure returned, whatever becomes of the transaction.
    let is_marked = result.is_ok() && session.account().is_rollback_only();
    let result = if is_marked { Err(CallersError) } else { result };
    let mut standing = session.settle(settings.answer_timeout);
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
            by_hand.raise_blocking();
        }
    }
    let dialect = progress.dialect();
    let patience = settings.answer_timeout;
    let question = begin.mark().and_then(|mark| MarkQuestion::new(mark, dialect, patience));
    if session.is_unsure() && asks_first(result.is_ok(), &standing) {
        standing = asked(&mut session, question.as_ref()).inside(standing);
    } else if idle::asks_first(session.account(), &standing, progress.idle_timeout())
        && let Some(question) = is_there(question.as_ref(), dialect)
        && let Err(failure) = session.ask(question)
    {
        standing = not_asked(failure);
    }
    if let Some(scope) = progress.compare(&session.account().trail, result, is_marked, &standing) {
        raise_all_blocking(&scope);
    }
    match (step(result.is_ok(), &standing), result) {
        (Step::Commit, Ok(())) if settings.dry_run => dry_run(session, dialect),
        (Step::Commit, Ok(())) if progress.is_to_rerun() => roll_back_to_rerun(session, dialect),
        (Step::Commit, Ok(())) => commit(progress, session, began),
        (step, result) => {
            let deadlock = PostMortem::of(&standing);
            let is_unsure = session.is_unsure();
            let parting = Inquiry {
                mark: is_unsure.then_some(question.as_ref()),
                deadlock: deadlock.as_ref(),
                dialect,
            };
            let Parted { account, rolled_back, asked, answer } =
                end_asking(session, step, &parting);
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
fn commit<S: Session>(
    progress: &mut Progress<BlockingHook>,
    mut session: S,
    began: Instant,
) -> Attempted {
    let settings = progress.settings();
    let mut witness = None;
    if settings.verify_commit
        && let Some(sql) = progress.dialect().question(Ask::Witness)
    {
        match session.ask(Question::new(sql, &[])) {
            Ok(answer) => witness = answer.as_deref().and_then(Witness::read),
            Err(failure) => {
                let standing = not_asked(failure);
                let account = end(session, step(true, &standing), progress.dialect());
                return (Ended::NotCommitted(Ok(()), standing), account);
            }
        }
    }
    progress.committing();
    let answer = session.commit();
    let account = session.account().take();
    let Err(failure) = answer else {
        if account.parting(true) == Parting::GiveBack {
            session.give_back();
        }
        return (Ended::Committed(clock::since(began)), account);
    };
    // A server that refused COMMIT has ended the transaction, and its connection is as good as before.
    if !failure.is_lost() && session.settle(settings.answer_timeout) == Standing::Ended {
        part(session, account.parting(false), progress.dialect());
    }
    (Ended::CommitFailed(failure, witness), account)
}

/// Rolls back what would have been committed, once the constraints that COMMIT checks are checked.
fn dry_run<S: Session>(mut session: S, dialect: &dyn Dialect) -> Attempted {
    if let Some(sql) = dialect.question(Ask::DeferredConstraints)
        && let Err(failure) = session.ask(Question::new(sql, &[]))
    {
        let standing = not_asked(failure.clone());
        let account = end(session, step(true, &standing), dialect);
        let ended = match standing {
            // COMMIT was never sent: nothing is in doubt.
            Standing::Lost(_) => Ended::NotCommitted(Ok(()), standing),
            _ => Ended::CommitFailed(failure, None),
        };
        return (ended, account);
    }
    let account = end(session, Step::RollBack, dialect);
    (Ended::NotCommitted(Err(CallersError), Standing::Open(None)), account)
}

/// Rolls back what would have been committed, to run its closure again.
fn roll_back_to_rerun<S: Session>(session: S, dialect: &dyn Dialect) -> Attempted {
    let inquiry = Inquiry { mark: None, deadlock: None, dialect };
    let Parted { account, rolled_back, .. } = end_asking(session, Step::RollBack, &inquiry);
    let ended = match rolled_back {
        // It was healthy as far as was seen, and not open any more.
        RolledBack::Before => Ended::NotCommitted(Ok(()), Standing::Ended),
        RolledBack::Now | RolledBack::No | RolledBack::Lost => Ended::RolledBackToRerun,
    };
    (ended, account)
}

/// Ends a transaction that isn't committed, and gives its connection back if nothing is in doubt.
fn end<S: Session>(session: S, step: Step, dialect: &dyn Dialect) -> Account<BlockingHook> {
    let inquiry = Inquiry { mark: None, deadlock: None, dialect };
    end_asking(session, step, &inquiry).account
}

/// What is left when a transaction that isn't committed has ended.
struct Parted {
    account: Account<BlockingHook>,
    rolled_back: RolledBack,
    /// What the server said of its mark, where it was asked.
    asked: Asked,
    /// What it said of a deadlock.
    answer: Option<String>,
}

/// Asks whether a transaction in which something ran unseen is still the one that was begun, until its answer comes.
fn asked<S: Session>(session: &mut S, question: Option<&MarkQuestion<'_>>) -> Asked {
    let Some(question) = question else { return Asked::in_vain() };
    let (mut asked, until) = (Asked::default(), clock::now() + question.patience);
    loop {
        let answer = session.ask(question.question());
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
fn end_asking<S: Session>(mut session: S, step: Step, inquiry: &Inquiry<'_>) -> Parted {
    let Inquiry { mark, deadlock, dialect } = *inquiry;
    let is_replaced = step == Step::Replace;
    let rolled_back = match step {
        Step::RollBack => RolledBack::of(session.rollback()),
        // Closing it rolls back, too; but then it can't be asked.
        Step::Replace if mark.is_some() => RolledBack::of(session.rollback()),
        Step::Replace | Step::Commit | Step::Close => RolledBack::Lost,
    };
    let is_over = matches!(rolled_back, RolledBack::Now | RolledBack::Before);
    let mut is_clean = is_over && !is_replaced;
    let mut asked_of_mark = Asked::default();
    if let Some(mark) = mark.filter(|_| rolled_back != RolledBack::Lost) {
        asked_of_mark = asked(&mut session, mark);
        is_clean &= asked_of_mark.is_in_step();
    }
    let mut answer = None;
    let binds = deadlock.filter(|_| is_clean).and_then(PostMortem::binds);
    if let (Some([processes, ago]), Some(sql)) = (&binds, dialect.question(Ask::Opponents)) {
        let binds = [&**processes, &**ago];
        match session.ask(Question::new(sql, &binds)) {
            Ok(told) => answer = told,
            // It is in an unknown state, and closed.
            Err(_) => is_clean = false,
        }
    }
    let account = session.account().take();
    if is_clean {
        part(session, account.parting(false), dialect);
    }
    Parted { account, rolled_back, asked: asked_of_mark, answer }
}

/// Parts with the connection of a transaction that isn't committed.
fn part<S: Session>(mut session: S, parting: Parting, dialect: &dyn Dialect) {
    match parting {
        Parting::GiveBack => session.give_back(),
        Parting::Close => {}
        Parting::UnlockAndClose => {
            if let Some(sql) = dialect.question(Ask::UnlockAll) {
                drop(session.ask(Question::rare(sql)));
            }
        }
    }
}
