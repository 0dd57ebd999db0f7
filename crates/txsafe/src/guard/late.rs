//! A finding of a poll that is over, whose line is known in the next one.
//!
//! Where a poll ended is known by the waker that was left there, but for the transaction's own statements: to walk the stack for
//! each of them would slow all down. So the next poll is waited for, which comes by the same way.

use super::{
    report::{Seen, Where},
    scope::{Scope, is_late, scope},
};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// What is still to be told of the poll before.
#[derive(Default)]
pub(super) struct Late {
    is_any: AtomicBool,
    seen: Mutex<Option<Seen>>,
}

impl Late {
    /// Leaves it for the next poll.
    pub(super) fn leave(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        self.is_any.store(true, Relaxed);
    }

    #[inline]
    pub(super) fn is_any(&self) -> bool {
        self.is_any.load(Relaxed)
    }

    /// The poll after that has ended: whether it came by the line or not, it is told.
    pub(super) fn tell(scope: &Arc<Scope>) {
        if let Some(seen) = scope.late.take() {
            scope.guard.report(scope, seen);
        }
    }

    fn take(&self) -> Option<Seen> {
        if !self.is_any.swap(false, Relaxed) {
            return None;
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The transaction's own statement is polled, by this stack.
#[inline]
pub(super) fn comes_by() {
    if is_late() {
        note();
    }
}

#[cold]
fn note() {
    let Some(scope) = scope() else { return };
    if let Some(seen) = scope.late.take() {
        // Told at the end of this poll: here a driver is in the midst of its work.
        scope.kept.push(Seen { site: Where::here(&scope.guard.policy).behind(), ..seen });
    }
}
