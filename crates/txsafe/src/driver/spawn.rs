//! Tasks in the background.

use futures_util::future::BoxFuture;

/// Runs `task` in the background. Outside a tokio runtime, and without the feature `tokio`, it drops the task.
pub fn spawn(task: BoxFuture<'static, ()>) {
    #[cfg(feature = "tokio")]
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(task);
    }
    #[cfg(not(feature = "tokio"))]
    drop(task);
}
