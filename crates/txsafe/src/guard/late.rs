//! A finding of a poll that is over, whose line is known in the next one.
//!
//! Where a poll ended is known by the waker that was left there, but for the transaction's own statements: to walk the stack for
//! each of them would slow all down. So the next poll is waited for, which comes by the same way.

use super::{
    origin::Trace,
    report::{Found, Where},
    scope::{Scope, is_late, scope},
};
use crate::clock::excused::lock;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// What is still to be told of the poll before, and the stack by which this one came.
#[derive(Default)]
pub(super) struct Late {
    is_any: AtomicBool,
    found: Mutex<Option<(Found, Option<Arc<Trace>>)>>,
}

impl Late {
    /// Leaves it for the next poll.
    pub(super) fn leave(&self, found: Found) {
        *lock(&self.found) = Some((found, None));
        self.is_any.store(true, Relaxed);
    }

    #[inline]
    pub(super) fn is_any(&self) -> bool {
        self.is_any.load(Relaxed)
    }

    /// The poll after that has ended, or there is none: whether it came by the line or not, it is told.
    pub(super) fn tell(scope: &Arc<Scope>) {
        if !scope.late.is_any.swap(false, Relaxed) {
            return;
        }
        let found = lock(&scope.late.found).take();
        if let Some((found, trace)) = found {
            scope.guard.place(scope, found, trace.map_or(Where::Unknown, Where::Before));
        }
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
    if let Some((_, trace)) = &mut *lock(&scope.late.found) {
        // Told at the end of this poll: here a driver is in the midst of its work.
        trace.get_or_insert_with(|| Arc::new(Trace::capture()));
    }
}
