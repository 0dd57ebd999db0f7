//! COMMIT must reach its answer even if its caller goes away, or has waited long enough.

use super::{account::Account, alarm::Alarm, events, hooks::AsyncHook};
use crate::{decide::failure::Failure, hold::session_log::SessionLog};
use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// What comes of COMMIT: the connection that it ran on, and its answer.
type Answered<C> = (C, Result<(), Failure>);

/// Runs `commit` in place, for at most `patience`. If the time is up, or the caller drops this future, `commit` moves to a
/// task of its own and goes on there, for as long as it takes: nothing cancels it, and its connection stays open until the
/// server has answered. Then `release` gets the connection, with whether it may go back to its pool.
///
/// `account` is the caller's again when this future is ready. If it is dropped before, the hooks run in the other task.
///
/// `alarm` must be one that `commit` doesn't use.
///
/// Outside a tokio runtime, where no task can be made, `commit` is dropped like any other future.
///
/// # Errors
/// The time was up first. The outcome isn't known, and a later answer is logged.
pub async fn to_the_end<C, F, R>(
    alarm: &Alarm,
    patience: Duration,
    account: &mut Account<AsyncHook>,
    commit: F,
    release: R,
) -> Result<Answered<C>, Failure>
where
    C: Send + 'static,
    F: Future<Output = Answered<C>> + Send + 'static,
    R: FnOnce(C, bool) + Send + Unpin + 'static,
{
    let mut shield = pin!(Shield {
        transaction: Arc::clone(&account.transaction),
        session: account.notes.session.clone(),
        commit: Some(Box::pin(commit)),
        account: Some(std::mem::take(account)),
        release: Some(release),
    });
    let answered = alarm.within(patience, shield.as_mut()).await;
    // What is in the account is the caller's to say and to run; what is left in the shield runs without it.
    *account = shield.account.take().unwrap_or_default();
    answered.map_err(|_elapsed| Failure::no_answer("COMMIT", patience))
}

struct Shield<C, F, R>
where
    C: Send + 'static,
    F: Future<Output = Answered<C>> + Send + 'static,
    R: FnOnce(C, bool) + Send + Unpin + 'static,
{
    transaction: Arc<str>,
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
        let (account, transaction) = (self.account.take(), Arc::clone(&self.transaction));
        let session = self.session.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let (conn, answer) = commit.await;
                release(conn, answer.is_ok() && session.may_give_back(true));
                match account {
                    Some(account) => account.conclude_abandoned(answer).await,
                    None => events::late_commit(&transaction, answer.err().as_ref()),
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::hooks::async_hook;
    use futures_util::FutureExt;
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    };
    use tokio::sync::{mpsc, oneshot};

    const LONG: Duration = Duration::from_secs(3_600);

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
        let alarm = Alarm::default();
        let mut account = std::mem::take(&mut stage.account);
        let mut caller = Box::pin(to_the_end(&alarm, LONG, &mut account, commit, release));
        assert!(caller.as_mut().now_or_never().is_none());
        drop(caller);
        stage.go.send(()).unwrap();
        assert_eq!(stage.released.recv().await, Some(true));
        while !stage.committed.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn goes_on_when_the_time_is_up_and_leaves_the_hooks_to_its_caller() {
        let (mut stage, commit, release) = stage();
        let alarm = Alarm::default();
        let mut account = std::mem::take(&mut stage.account);
        let patience = Duration::from_secs(30);
        let answered = to_the_end(&alarm, patience, &mut account, commit, release).await;
        assert!(answered.unwrap_err().is_lost());
        assert!(stage.released.try_recv().is_err(), "its connection is left alone");
        stage.go.send(()).unwrap();
        assert_eq!(stage.released.recv().await, Some(true));
        assert!(!stage.committed.load(Ordering::Relaxed));
        account.run_hooks(true).await;
        assert!(stage.committed.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn is_just_the_future_when_the_caller_stays() {
        let (mut stage, commit, release) = stage();
        stage.go.send(()).unwrap();
        let alarm = Alarm::default();
        let answered = to_the_end(&alarm, LONG, &mut stage.account, commit, release).await;
        assert_eq!(answered.unwrap().0, "connection");
        assert!(stage.released.recv().await.is_none(), "not released by the task");
    }
}
