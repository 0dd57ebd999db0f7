//! Tasks in the background.

use futures_util::future::BoxFuture;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Runs `task` in the background. Outside a tokio runtime, and without the feature `tokio`, it drops the task.
pub fn spawn(task: BoxFuture<'static, ()>) {
    #[cfg(feature = "tokio")]
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(task);
    }
    #[cfg(not(feature = "tokio"))]
    drop(task);
}

/// Runs `task` in place. If the caller drops this future, [`spawn`] runs the rest of `task`.
pub(crate) fn in_place_or_spawned(task: BoxFuture<'static, ()>) -> impl Future<Output = ()> + Send {
    InPlaceOrSpawned(Some(task))
}

struct InPlaceOrSpawned(Option<BoxFuture<'static, ()>>);

impl Future for InPlaceOrSpawned {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Out of its place while it is polled: if it panics, nobody must poll it again.
        let Some(mut task) = self.0.take() else {
            unreachable!("a future is not polled after its end");
        };
        let poll = task.as_mut().poll(cx);
        if poll.is_pending() {
            self.0 = Some(task);
        }
        poll
    }
}

impl Drop for InPlaceOrSpawned {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            spawn(task);
        }
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_task_goes_on_when_its_caller_is_gone() {
        let ((go, gone), (end, ended)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        let task = async move {
            gone.await.unwrap();
            end.send(()).unwrap();
        };
        let mut caller = Box::pin(in_place_or_spawned(Box::pin(task)));
        assert!(caller.as_mut().now_or_never().is_none());
        drop(caller);
        go.send(()).unwrap();
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn a_task_that_panicked_is_not_polled_again() {
        let mut caller = Box::pin(in_place_or_spawned(Box::pin(async { panic!("on purpose") })));
        let polled = std::panic::AssertUnwindSafe(caller.as_mut()).catch_unwind().await;
        assert!(polled.is_err());
        drop(caller);
        tokio::task::yield_now().await;
    }
}
