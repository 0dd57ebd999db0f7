//! The blocking run loop: the twin of the async one, decision for decision.

use super::{
    account::Account,
    call::Call,
    ending::{
        Ended, Next, Step, asks_first, begin_failed, claim_failed, identified, identified_after,
        not_asked, step,
    },
    events,
    hooks::BlockingHook,
    identity, idle,
    postmortem::{PostMortem, QUESTION_SQL},
    progress::Progress,
    session::{Question, Session, Standing, Work},
    verify::{Witness, verify_blocking},
};
use crate::{
    decide::{
        begin::Begin,
        mark::{Identity, Mark},
        remedy::Phase,
    },
    guard::within::within_blocking,
    hold::{
        excused::{Excuse, Excusing},
        keyed::Keyed,
    },
};
use std::time::Instant;

/// Runs one transaction to its end: attempts, pauses, hooks.
///
/// A deadline ends attempts and pauses as it does in the async loop, but a closure that is running is left to its
/// statements' timeouts, which end at the deadline too.
///
/// # Errors
/// The closure's own error, or ours converted into it.
pub fn run<W: Work>(call: Call, mut work: W) -> Result<Keyed<W::Value>, W::Error> {
    let _inside = events::span(&call.named.name).entered();
    let mut progress = Progress::start(call)?;
    // To the one outside it is all the same, and of that has been told.
    let _told = progress.course.nested.then(|| Excusing::start(Excuse::Told));
    loop {
        let begin = progress.next_attempt()?;
        let (ended, account) = attempt(&mut progress, &begin, &mut work);
        let mut next = progress.conclude(ended, account);
        loop {
            while let Some((account, committed)) = progress.take_due() {
                account.run_hooks_blocking(committed);
            }
            match next {
                Next::Return(result) => return result,
                Next::Pause(pause) => {
                    work.sleep(pause);
                    break;
                }
                Next::Verify(witness) => {
                    let settings = progress.settings();
                    let verdict = verify_blocking(&mut work, &settings, &witness);
                    next = progress.resolve(verdict);
                }
            }
        }
    }
}

type Attempted<W> = (Ended<<W as Work>::Value, <W as Work>::Error>, Account<BlockingHook>);

/// One attempt, from a connection of the pool until that is given back or closed.
fn attempt<W: Work>(
    progress: &mut Progress<W::Value, BlockingHook>,
    begin: &Begin,
    work: &mut W,
) -> Attempted<W> {
    let settings = progress.settings();
    let opened = work.open(&settings, progress.deadline());
    progress.checked_out();
    let mut session = match opened {
        Ok(session) => session,
        Err(failure) => return (Ended::NotStarted(Phase::Checkout, failure), Account::new()),
    };
    session.account().begin(&progress.call);
    if progress.is_unidentified() {
        let answer = session.ask(identity::QUESTION).unwrap_or_default();
        if let Some(outer) = progress.identified(answer) {
            session.give_back();
            return (Ended::Nested(outer), Account::new());
        }
    }
    let began = Instant::now();
    if let Err(failure) = session.begin(begin) {
        let failure = begin_failed(failure, progress.call.on_held);
        return (Ended::NotStarted(Phase::Begin, failure), Account::new());
    }
    if let Some((sql, binds)) = progress.claim() {
        let binds = &[binds[0].as_str(), binds[1].as_str()];
        match session.ask(Question { sql, binds }) {
            Ok(Some(_)) => progress.key_was_new(),
            Ok(None) => {
                end(session, Step::RollBack);
                return (Ended::AlreadyCommitted, Account::new());
            }
            Err(failure) => {
                let standing = session.settle(settings.answer_timeout);
                let account = end(session, step(false, &standing));
                let failure = claim_failed(failure, standing);
                return (Ended::NotStarted(Phase::Begin, failure), account);
            }
        }
    }
    let scope = progress.scope(session.connection(), session.account());
    let gaps = session.account().notes.gaps.clone();
    let result = within_blocking(scope, &gaps, || work.body(&mut session));
    let mut standing = session.settle(settings.answer_timeout);
    if session.is_unsure() && asks_first(result.is_ok(), &standing) {
        let answer = session.ask(Question::of_mark(&begin.mark().binds()));
        standing = identified(answer, begin.mark(), standing);
    } else if idle::asks_first(session.account(), &standing, &settings)
        && let Err(failure) = session.ask(Question::of_mark(&begin.mark().binds()))
    {
        standing = not_asked(failure);
    }
    match (step(result.is_ok(), &standing), result) {
        (Step::Commit, Ok(value)) => commit::<W>(progress, session, value, began),
        (step, result) => {
            let deadlock = PostMortem::of(&standing);
            let is_unsure = session.is_unsure();
            let mark = Some(begin.mark()).filter(|_| is_unsure);
            let Parted { account, identity, answer } =
                end_asking(session, step, mark, deadlock.as_ref());
            let standing = match deadlock {
                Some(deadlock) => deadlock.explain(standing, answer, &progress.call, &account),
                None => standing,
            };
            let standing = if is_unsure { identified_after(identity, standing) } else { standing };
            (Ended::NotCommitted(result, standing), account)
        }
    }
}

/// COMMIT, after asking for what is needed to verify it.
fn commit<W: Work>(
    progress: &mut Progress<W::Value, BlockingHook>,
    mut session: W::Session,
    value: W::Value,
    began: Instant,
) -> Attempted<W> {
    let settings = progress.settings();
    let mut witness = None;
    if settings.verify_commit {
        match session.ask(Witness::QUESTION) {
            Ok(answer) => witness = answer.as_deref().and_then(Witness::read),
            Err(failure) => {
                let standing = not_asked(failure);
                let account = end(session, step(true, &standing));
                return (Ended::NotCommitted(Ok(value), standing), account);
            }
        }
    }
    progress.committing();
    let answer = session.commit();
    let account = std::mem::take(session.account());
    let Err(failure) = answer else {
        session.give_back();
        return (Ended::Committed(value, began.elapsed()), account);
    };
    // A server that refused COMMIT has ended the transaction, and its connection is as good as before.
    if !failure.is_lost() && session.settle(settings.answer_timeout) == Standing::Ended {
        session.give_back();
    }
    (Ended::CommitFailed(failure, value, witness), account)
}

/// Ends a transaction that isn't committed, and gives its connection back if that is certain.
fn end<S: Session>(session: S, step: Step) -> Account<BlockingHook> {
    end_asking(session, step, None, None).account
}

/// What is left when a transaction that isn't committed has ended.
struct Parted {
    account: Account<BlockingHook>,
    /// What the server said of its mark, where it was asked.
    identity: Option<Identity>,
    /// What it said of a deadlock.
    answer: Option<String>,
}

/// Ends a transaction that isn't committed; where something ran unseen, asks for its `mark` then; and asks who the
/// others were that it died with. Gives the connection back if nothing is in doubt.
fn end_asking<S: Session>(
    mut session: S,
    step: Step,
    mark: Option<&Mark>,
    deadlock: Option<&PostMortem>,
) -> Parted {
    let mut is_clean = match step {
        Step::RollBack => session.rollback().is_ok(),
        Step::Commit | Step::Close => false,
    };
    let mut identity = None;
    if let Some(mark) = mark.filter(|_| is_clean) {
        let answer = session.ask(Question::of_mark(&mark.binds()));
        identity = answer.ok().flatten().and_then(|answer| mark.read(&answer));
        is_clean = identity.is_some();
    }
    let mut answer = None;
    let binds = deadlock.filter(|_| is_clean).and_then(PostMortem::binds);
    if let Some([processes, ago]) = &binds {
        let question = Question { sql: QUESTION_SQL, binds: &[processes, ago] };
        match session.ask(question) {
            Ok(told) => answer = told,
            // It is in an unknown state, and closed.
            Err(_) => is_clean = false,
        }
    }
    let account = std::mem::take(session.account());
    if is_clean {
        session.give_back();
    }
    Parted { account, identity, answer }
}
