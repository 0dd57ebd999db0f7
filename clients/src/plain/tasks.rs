//! Waits for other tasks of one's own program, and for none.
//!
//! What the other task does isn't on the transaction's task, so a guard sees it by the wait only.

use std::sync::Arc;
use std::thread;

use tokio::sync::{Mutex, Notify, oneshot};

use super::case::{Call, Case, Failed, Wait, call};
use super::server::{answer_delay, hesitate};

pub(super) const CASES: &[Case] = &[
    Case::new("spawn.awaited", "spawn a task and await it", Wait::Suspends, || {
        Box::pin(spawn_awaited())
    }),
    Case::new("spawn.forgotten", "spawn a task that nobody awaits", Wait::GoesOn, || {
        Box::pin(spawn_forgotten())
    }),
    Case::new(
        "spawn_blocking.awaited",
        "block a thread of the blocking pool and await it",
        Wait::Suspends,
        || Box::pin(spawn_blocking()),
    ),
    Case::new("channel", "wait for another task's message", Wait::Suspends, || Box::pin(channel())),
    Case::new("mutex", "wait for a mutex that another task holds", Wait::Suspends, || {
        Box::pin(mutex())
    }),
];

async fn spawn_awaited() -> Result<Call, Failed> {
    Ok(call(async {
        tokio::spawn(hesitate()).await?;
        Ok(())
    }))
}

async fn spawn_forgotten() -> Result<Call, Failed> {
    Ok(call(async {
        drop(tokio::spawn(hesitate()));
        Ok(())
    }))
}

async fn spawn_blocking() -> Result<Call, Failed> {
    Ok(call(async {
        tokio::task::spawn_blocking(|| thread::sleep(answer_delay())).await?;
        Ok(())
    }))
}

async fn channel() -> Result<Call, Failed> {
    let (ask, asked) = oneshot::channel();
    let (answer, answered) = oneshot::channel();
    tokio::spawn(async {
        if asked.await.is_ok() {
            hesitate().await;
            // Who asked may have given up.
            let _ = answer.send(());
        }
    });
    Ok(call(async {
        ask.send(()).map_err(|()| "the other task is gone")?;
        answered.await?;
        Ok(())
    }))
}

async fn mutex() -> Result<Call, Failed> {
    let mutex = Arc::new(Mutex::new(()));
    let release = Arc::new(Notify::new());
    let held = Arc::clone(&mutex).lock_owned().await;
    let released = Arc::clone(&release);
    tokio::spawn(async move {
        released.notified().await;
        hesitate().await;
        drop(held);
    });
    Ok(call(async move {
        release.notify_one();
        drop(mutex.lock().await);
        Ok(())
    }))
}
