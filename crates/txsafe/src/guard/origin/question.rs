//! What isn't known yet of findings while their transaction goes on.

use crate::guard::scope::Scope;
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// The questions of one scope that are open.
#[derive(Debug, Default)]
pub(in crate::guard) struct Questions {
    open: Mutex<(u32, Option<Waker>)>,
    answered: Condvar,
}

impl Questions {
    /// Waits until none is open.
    pub(in crate::guard) fn poll_answered(&self, cx: &Context<'_>) -> Poll<()> {
        let mut open = self.lock();
        if open.0 == 0 {
            return Poll::Ready(());
        }
        open.1 = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The same, blocking the thread.
    pub(in crate::guard) fn wait(&self) {
        let answered = self.answered.wait_while(self.lock(), |(open, _)| *open > 0);
        drop(answered.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, (u32, Option<Waker>)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is open until it is dropped.
#[derive(Debug)]
pub(super) struct Question(Arc<Scope>);

impl Question {
    pub(super) fn open(scope: &Arc<Scope>) -> Self {
        scope.questions.lock().0 += 1;
        Self(Arc::clone(scope))
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let questions = &self.0.questions;
        let mut open = questions.lock();
        open.0 -= 1;
        if open.0 == 0 {
            questions.answered.notify_all();
            if let Some(waker) = open.1.take() {
                drop(open);
                waker.wake();
            }
        }
    }
}
