//! Which code runs here: that of a task, or that of a thread.

use std::{
    cell::Cell,
    thread::{self, ThreadId},
};

thread_local! {
    /// For which code this thread runs a blocking transaction.
    static ON_BEHALF: Cell<Option<Runner>> = const { Cell::new(None) };
}

/// What runs code: a task of tokio, or a thread that runs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    #[cfg(feature = "tokio")]
    Task(tokio::task::Id),
    Thread(ThreadId),
}

impl Runner {
    /// What runs this code.
    pub(crate) fn here() -> Self {
        if let Some(runner) = ON_BEHALF.get() {
            return runner;
        }
        #[cfg(feature = "tokio")]
        if let Some(task) = tokio::task::try_id() {
            return Self::Task(task);
        }
        Self::Thread(thread::current().id())
    }

    /// Runs `body` on this thread as code of this runner.
    #[cfg(any(feature = "tokio", test))]
    pub(crate) fn run<R>(self, body: impl FnOnce() -> R) -> R {
        /// Restores what was before, also in a panic.
        struct Restore(Option<Runner>);

        impl Drop for Restore {
            fn drop(&mut self) {
                ON_BEHALF.set(self.0);
            }
        }

        let _restore = Restore(ON_BEHALF.replace(Some(self)));
        body()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_runs_code_for_another_one_until_that_ends() {
        let mine = Runner::here();
        let runs = || {
            let own = Runner::here();
            let on_behalf = mine.run(Runner::here);
            (own, on_behalf, Runner::here())
        };
        let (own, on_behalf, afterwards) = thread::scope(|scope| scope.spawn(runs).join().unwrap());
        assert_ne!(own, mine);
        assert_eq!((on_behalf, afterwards), (mine, own));
    }
}
