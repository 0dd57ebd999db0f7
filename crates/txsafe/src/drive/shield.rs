//! COMMIT must reach its answer even if the caller goes away.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Runs `future` in place; if the caller drops it before its end, it moves to a task of its own, goes on there, and
/// hands its output to `orphaned`.
///
/// Outside a tokio runtime, where no task can be made, the future is dropped like any other.
pub fn to_the_end<F, O, G>(future: F, orphaned: O) -> impl Future<Output = F::Output> + Send
where
    F: Future<Output: Send> + Send + 'static,
    O: FnOnce(F::Output) -> G + Send + Unpin + 'static,
    G: Future<Output = ()> + Send + 'static,
{
    Shield { future: Some(Box::pin(future)), orphaned: Some(orphaned) }
}

struct Shield<F, O, G>
where
    F: Future<Output: Send> + Send + 'static,
    O: FnOnce(F::Output) -> G + Send + Unpin + 'static,
    G: Future<Output = ()> + Send + 'static,
{
    future: Option<Pin<Box<F>>>,
    orphaned: Option<O>,
}

impl<F, O, G> Future for Shield<F, O, G>
where
    F: Future<Output: Send> + Send + 'static,
    O: FnOnce(F::Output) -> G + Send + Unpin + 'static,
    G: Future<Output = ()> + Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Out of its place while it is polled: if it panics, nobody must poll it again.
        let Some(mut future) = self.future.take() else {
            unreachable!("a future is not polled after its end");
        };
        let poll = future.as_mut().poll(cx);
        if poll.is_pending() {
            self.future = Some(future);
        }
        poll
    }
}

impl<F, O, G> Drop for Shield<F, O, G>
where
    F: Future<Output: Send> + Send + 'static,
    O: FnOnce(F::Output) -> G + Send + Unpin + 'static,
    G: Future<Output = ()> + Send + 'static,
{
    fn drop(&mut self) {
        let (Some(future), Some(orphaned)) = (self.future.take(), self.orphaned.take()) else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { orphaned(future.await).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn goes_on_when_the_caller_is_gone() {
        let (go, gone) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        let answer = async move {
            gone.await.unwrap();
            "committed"
        };
        let orphaned = |answer| async move { done.send(answer).unwrap() };
        let mut caller = Box::pin(to_the_end(answer, orphaned));
        assert!(caller.as_mut().now_or_never().is_none());
        drop(caller);
        go.send(()).unwrap();
        assert_eq!(ended.await, Ok("committed"));
    }

    #[tokio::test]
    async fn is_just_the_future_when_the_caller_stays() {
        assert_eq!(to_the_end(async { 7 }, |_| async { panic!("not an orphan") }).await, 7);
    }
}
