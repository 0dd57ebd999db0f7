//! What was seen where it can't be told, and is told when the poll has ended, or a statement starts.
//!
//! Some of it is seen in the midst of a client's logging, some under locks of whoever called the C library, some while the
//! lock graph is asked. Telling is an event of `tracing` and may be anything else: it must come where only the run loop is on
//! the stack.

use super::{report::Seen, scope::Scope};
use crate::clock;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

/// So much is kept between two moments at which it is told; the rest is lost.
const MOST: usize = 64;

/// What is kept of one attempt.
#[derive(Default)]
pub(super) struct Kept {
    is_any: AtomicBool,
    seen: Mutex<Vec<(Instant, Seen)>>,
}

impl Kept {
    pub(super) fn push(&self, seen: Seen) {
        let mut kept = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Megabytes are sent by many calls, and are one thing to tell of.
        let is_same = |(_, other): &(_, Seen)| other.what == seen.what && other.site == seen.site;
        if kept.len() < MOST && !kept.iter().any(is_same) {
            kept.push((clock::now(), seen));
            self.is_any.store(true, Relaxed);
        }
    }

    /// Tells of it.
    #[inline]
    pub(super) fn tell(scope: &Arc<Scope>) {
        if scope.kept.is_any.load(Relaxed) {
            for (at, seen) in scope.kept.take() {
                scope.guard.report_at(at, scope, seen);
            }
        }
    }

    /// Whether something in it tells of a wait.
    pub(super) fn has_wait(&self) -> bool {
        let kept = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().any(|(_, seen)| seen.waited.is_some())
    }

    #[cold]
    fn take(&self) -> Vec<(Instant, Seen)> {
        let mut kept = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_any.store(false, Relaxed);
        std::mem::take(&mut *kept)
    }
}
