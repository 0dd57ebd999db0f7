//! What is to happen after a transaction ended: queued per attempt and per savepoint, run once, in order.

use futures_util::FutureExt;
use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
};

/// A queued async hook.
pub type AsyncHook =
    Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send>;

/// A queued blocking hook.
pub type BlockingHook = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// A queued hook of either kind.
pub trait Hook: Send + Sized {
    /// A hook that calls a function, which can't fail.
    fn calling(function: impl FnOnce() + Send + 'static) -> Self;
}

impl Hook for AsyncHook {
    fn calling(function: impl FnOnce() + Send + 'static) -> Self {
        async_hook(async move || function())
    }
}

impl Hook for BlockingHook {
    fn calling(function: impl FnOnce() + Send + 'static) -> Self {
        blocking_hook(function)
    }
}

/// The hooks of one attempt.
pub struct Hooks<H> {
    after_commit: Vec<H>,
    after_rollback: Vec<H>,
}

/// A position in [`Hooks`] to return to when a savepoint is rolled back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(usize);

/// What a hook may return: nothing, or a `Result` whose error is reported.
pub trait HookResult {
    /// The message of a failure.
    ///
    /// # Errors
    /// The text to be reported, if the hook failed.
    fn into_result(self) -> Result<(), String>;
}

impl HookResult for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> HookResult for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

impl<H> Hooks<H> {
    /// No hooks.
    #[must_use]
    pub fn new() -> Self {
        Self { after_commit: Vec::new(), after_rollback: Vec::new() }
    }

    /// Queues a hook to be run once the attempt has committed.
    pub fn push_after_commit(&mut self, hook: H) {
        self.after_commit.push(hook);
    }

    /// Queues a hook to be run once the attempt, or the savepoint it was queued in, has been rolled back.
    pub fn push_after_rollback(&mut self, hook: H) {
        self.after_rollback.push(hook);
    }

    /// The position before a savepoint.
    #[must_use]
    pub(crate) fn mark(&self) -> (Mark, Mark) {
        (Mark(self.after_commit.len()), Mark(self.after_rollback.len()))
    }

    /// A savepoint was rolled back: its `after_commit` hooks are dropped, and its `after_rollback` hooks will run at
    /// the end of the attempt, however that ends.
    pub(crate) fn savepoint_rolled_back(
        &mut self,
        (commit, rollback): (Mark, Mark),
        due: &mut Vec<H>,
    ) {
        self.after_commit.truncate(commit.0);
        due.extend(self.after_rollback.drain(rollback.0.min(self.after_rollback.len())..));
    }

    /// Takes the hooks to be run now that the attempt ended.
    pub(crate) fn take(&mut self, committed: bool) -> Vec<H> {
        let (run, dropped) = if committed {
            (&mut self.after_commit, &mut self.after_rollback)
        } else {
            (&mut self.after_rollback, &mut self.after_commit)
        };
        dropped.clear();
        std::mem::take(run)
    }
}

impl<H> Default for Hooks<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H> fmt::Debug for Hooks<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (commit, rollback) = (self.after_commit.len(), self.after_rollback.len());
        write!(f, "Hooks({commit} after_commit, {rollback} after_rollback)")
    }
}

/// Boxes an async hook.
pub fn async_hook<F, Fut>(hook: F) -> AsyncHook
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output: HookResult> + Send + 'static,
{
    Box::new(move || Box::pin(async move { hook().await.into_result() }))
}

/// Boxes a blocking hook.
pub fn blocking_hook<R: HookResult>(hook: impl FnOnce() -> R + Send + 'static) -> BlockingHook {
    Box::new(move || hook().into_result())
}

/// Runs hooks one after another; a failure or a panic is handed to `failed` and doesn't stop the next one.
pub(crate) async fn run_async(hooks: Vec<AsyncHook>, failed: impl Fn(&str) + Send + Sync) {
    for hook in hooks {
        // The call itself may panic, before there is a future.
        let run = AssertUnwindSafe(async move { hook().await });
        match run.catch_unwind().await {
            Ok(Ok(())) => {}
            Ok(Err(message)) => failed(&message),
            Err(panic) => failed(&panic_message(panic.as_ref())),
        }
    }
}

/// The blocking twin of [`run_async`].
pub(crate) fn run_blocking(hooks: Vec<BlockingHook>, failed: impl Fn(&str)) {
    for hook in hooks {
        match catch_unwind(AssertUnwindSafe(hook)) {
            Ok(Ok(())) => {}
            Ok(Err(message)) => failed(&message),
            Err(panic) => failed(&panic_message(panic.as_ref())),
        }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("(no message)"))
}

/// The methods that queue hooks.
#[doc(hidden)]
#[macro_export]
macro_rules! __hook_methods {
    ($mode:ident $tx:ident) => {
        /// What happens after the transaction.
        impl<O, Held> $tx<'_, O, Held> {
            /// Has this attempt rolled back at its end, even if the closure returns `Ok`; the caller gets what it returned.
            ///
            /// For code that used to drop its transaction without an error: what returns `Ok` here would be committed. It holds for
            /// the whole transaction, from inside a savepoint, too, and whatever failed in it: only a failure that asks for
            /// another attempt has one made. A transaction that was begun by hand can't be committed any more: its `commit`
            /// rolls back and returns [`ErrorKind::RollbackOnly`](crate::ErrorKind::RollbackOnly).
            ///
            /// To try a whole transaction without effect, see [`TxOptions::dry_run`](crate::TxOptions::dry_run).
            pub fn set_rollback_only(&mut self) {
                self.account().set_rollback_only();
            }

            $crate::__hook_method! {
                $mode
                /// Queues what is to happen once this attempt has committed: mail, calls to other services, cache updates.
                ///
                /// Hooks run in order, after the connection went back to its pool and before `transaction` returns. A hook that
                /// returns an error or panics is reported (an `error` event, the counter `txsafe_hook_failures_total`); it
                /// doesn't undo the commit or stop the next hook. If the attempt or the savepoint it was queued in is rolled
                /// back, it is dropped. If the answer to COMMIT is lost for good, it isn't run. If an async caller goes away
                /// during COMMIT or while hooks run, all of them run to their end in a task in the background: no timeout
                /// around the transaction ends them, so give a hook that may hang one of its own.
                ///
                /// The hook lives longer than the closure's borrows: give it clones.
                after_commit push_after_commit
            }

            $crate::__hook_method! {
                $mode
                /// Queues what is to happen once this attempt has been rolled back, like [`after_commit`](Self::after_commit).
                ///
                /// It runs for every attempt that queued it, those that are tried again included, and before the pause. Queued
                /// in a savepoint that is rolled back, it runs at the end of the attempt. If the caller goes away before the
                /// transaction is rolled back, or the closure panics, it isn't run; one that was begun by hand runs it where its
                /// drop rolls back.
                after_rollback push_after_rollback
            }
        }
    };
}

/// A method that queues a hook.
#[doc(hidden)]
#[macro_export]
macro_rules! __hook_method {
    (async $(#[$doc:meta])* $name:ident $push:ident) => {
        $(#[$doc])*
        pub fn $name<F, Fut>(&mut self, hook: F)
        where
            F: FnOnce() -> Fut + Send + 'static,
            Fut: ::std::future::Future<Output: $crate::driver::HookResult> + Send + 'static,
        {
            self.account().hooks.$push($crate::driver::async_hook(hook));
        }
    };
    (blocking $(#[$doc:meta])* $name:ident $push:ident) => {
        $(#[$doc])*
        pub fn $name<R: $crate::driver::HookResult>(
            &mut self,
            hook: impl FnOnce() -> R + Send + 'static,
        ) {
            self.account().hooks.$push($crate::driver::blocking_hook(hook));
        }
    };
}
