//! The blocking run loop: the twin of the async one, decision for decision.

use super::{
    finish::finish,
    start::{Attempted, start},
};
use crate::{
    clock::excused::{Excuse, Excusing},
    driver::{
        hooks::BlockingHook,
        session::{Session, Source, Work},
    },
    guard::{session_state::keep_session_state, within::within_blocking},
    transaction::{
        call::Call, course::Plan, ending::Next, keyed::Keyed, progress::Progress,
        returned::RunError, verify::verify_blocking,
    },
};
use std::{ops::ControlFlow, sync::Arc, time::Duration};

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
                let verdict = verify_blocking(source, &progress.call, &witness);
                next = progress.resolve(verdict);
            }
        }
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
