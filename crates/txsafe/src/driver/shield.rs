//! COMMIT must reach its answer even if its caller goes away.

use super::{account::Account, hooks::AsyncHook, spawn::spawn};
use crate::{dialect::failure::Failure, guard::session_log::SessionLog};
use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

/// What comes of COMMIT: the connection that it ran on, and its answer.
type Answered<C> = (C, Result<(), Failure>);

/// Runs `commit` in place. If the caller drops this future, `commit` moves to a task of its own and goes on there; then
/// `release` gets the connection, with whether it may go back to its pool.
///
/// `account` is the caller's again when this future is ready. If it is dropped before, the hooks run in the other task.
///
/// Outside a tokio runtime, where no task can be made, `commit` is dropped like any other future.
pub async fn to_the_end<C, F, R>(
    account: &mut Account<AsyncHook>,
    commit: F,
    release: R,
) -> Answered<C>
where
    C: Send + 'static,
    F: Future<Output = Answered<C>> + Send + 'static,
    R: FnOnce(C, bool) + Send + Unpin + 'static,
{
    let mut shield = pin!(Shield {
        session: account.notes.session.clone(),
        commit: Some(Box::pin(commit)),
        account: Some(std::mem::take(account)),
        release: Some(release),
    });
    let answered = shield.as_mut().await;
    *account = shield.account.take().unwrap_or_default();
    answered
}

struct Shield<C, F, R>
where
    C: Send + 'static,
    F: Future<Output = Answered<C>> + Send + 'static,
    R: FnOnce(C, bool) + Send + Unpin + 'static,
{
    session: SessionLog,
    commit: Option<Pin<Box<F>>>,
    account: Option<Account<AsyncHook>>,
    release: Option<R>,
}

impl<C, F, R> Future for Shield<C, F, R>
where
    C: Send + 'static,
    F: Future<Output = Answered<C>> + Send + 'static,
    R: FnOnce(C, bool) + Send + Unpin + 'static,
{
    type Output = Answered<C>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered<C>> {
        // Out of its place while it is polled: if it panics, nobody must poll it again.
        let Some(mut commit) = self.commit.take() else {
            unreachable!("a future is not polled after its end");
        };
        let poll = commit.as_mut().poll(cx);
        if poll.is_pending() {
            self.commit = Some(commit);
        }
        poll
    }
}

impl<C, F, R> Drop for Shield<C, F, R>
where
    C: Send + 'static,
    F: Future<Output = Answered<C>> + Send + 'static,
    R: FnOnce(C, bool) + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        let (Some(commit), Some(release)) = (self.commit.take(), self.release.take()) else {
            return;
        };
        let account = self.account.take().unwrap_or_default();
        let session = self.session.clone();
        spawn(Box::pin(async move {
            let (conn, answer) = commit.await;
            release(conn, answer.is_ok() && session.may_give_back(true));
            account.conclude_abandoned(answer).await;
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::hooks::async_hook;
    use super::*;
    use futures_util::FutureExt;
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };
    use tokio::sync::{mpsc, oneshot};

    /// COMMIT that answers when it is let go, what its connection was told, and an account with one hook.
    struct Stage {
        go: oneshot::Sender<()>,
        released: mpsc::UnboundedReceiver<bool>,
        committed: Arc<AtomicBool>,
        account: Account<AsyncHook>,
    }

    fn stage() -> (
        Stage,
        impl Future<Output = Answered<&'static str>> + Send + 'static,
        impl FnOnce(&'static str, bool) + Send + Unpin + 'static,
    ) {
        let (go, gone) = oneshot::channel();
        let (release, released) = mpsc::unbounded_channel();
        let committed = Arc::<AtomicBool>::default();
        let noted = Arc::clone(&committed);
        let mut account = Account::new();
        account.hooks.push_after_commit(async_hook(async move || {
            noted.store(true, Ordering::Relaxed);
        }));
        let commit = async move {
            gone.await.unwrap();
            ("connection", Ok(()))
        };
        let release = Mutex::new(release);
        let release = move |_: &'static str, ok| release.lock().unwrap().send(ok).unwrap();
        (Stage { go, released, committed, account }, commit, release)
    }

    #[tokio::test]
    async fn goes_on_when_the_caller_is_gone_and_runs_its_hooks() {
        let (mut stage, commit, release) = stage();
        let mut account = std::mem::take(&mut stage.account);
        let mut caller = Box::pin(to_the_end(&mut account, commit, release));
        assert!(caller.as_mut().now_or_never().is_none());
        drop(caller);
        stage.go.send(()).unwrap();
        assert_eq!(stage.released.recv().await, Some(true));
        while !stage.committed.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn is_just_the_future_when_the_caller_stays() {
        let (mut stage, commit, release) = stage();
        stage.go.send(()).unwrap();
        let answered = to_the_end(&mut stage.account, commit, release).await;
        assert_eq!(answered.0, "connection");
        assert!(stage.released.recv().await.is_none(), "not released by the task");
    }
}
