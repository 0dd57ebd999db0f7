//! A bound on waiting for the server that costs nothing as long as the server answers.
//!
//! A timer per COMMIT would be set and cleared for every transaction, and each time wake the runtime's driver. Here a wait
//! only remembers its own end, and when the timer rings too early it is set again. A timer that nobody waits for any
//! more goes to the next who needs one.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    runtime::{Handle, Id},
    time::{Instant, Sleep, sleep_until},
};

/// Timers that are set, and that nobody waits for. The oldest makes way: its runtime may have ended.
static FREE: Mutex<Vec<Set>> = Mutex::new(Vec::new());

/// Timers that are kept.
const MOST_FREE: usize = 64;

/// An alarm, which one waits for at a time.
#[derive(Debug, Default)]
pub struct Alarm(Mutex<Option<Set>>);

/// A timer, which belongs to the runtime that it was set on.
#[derive(Debug)]
struct Set {
    runtime: Id,
    sleep: Pin<Box<Sleep>>,
}

/// The time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elapsed;

impl Alarm {
    /// Waits for `future`, for at most `patience`.
    ///
    /// A large one is better pinned by the caller: what is moved in here is copied.
    ///
    /// # Errors
    /// The time was up first; the future is dropped.
    pub async fn within<F: Future>(
        &self,
        patience: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let end = Instant::now() + patience;
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll(cx, end).map(|()| Err(Elapsed)),
        })
        .await
    }

    fn poll(&self, cx: &mut Context<'_>, end: Instant) -> Poll<()> {
        let mut alarm = lock(&self.0);
        let runtime = Handle::current().id();
        if alarm.as_ref().is_none_or(|set| set.runtime != runtime) {
            *alarm = Some(Set::free(runtime).unwrap_or_else(|| Set::new(runtime, end)));
        }
        let Some(Set { sleep, .. }) = &mut *alarm else { unreachable!("set one line above") };
        if sleep.deadline() > end {
            sleep.as_mut().reset(end);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= end {
                // One that has rung is of no use to the next.
                *alarm = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let Some(set) = mem::take(&mut self.0).into_inner().unwrap_or_else(PoisonError::into_inner)
        else {
            return;
        };
        let mut free = lock(&FREE);
        let oldest = (free.len() == MOST_FREE).then(|| free.remove(0));
        free.push(set);
        drop(free);
        // A timer's end takes its runtime's locks.
        drop(oldest);
    }
}

impl Set {
    fn new(runtime: Id, end: Instant) -> Self {
        Self { runtime, sleep: Box::pin(sleep_until(end)) }
    }

    /// One that is free, of this runtime.
    fn free(runtime: Id) -> Option<Self> {
        let mut free = lock(&FREE);
        let i = free.iter().rposition(|set| set.runtime == runtime)?;
        Some(free.swap_remove(i))
    }
}

/// A panic in between leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn rings_after_its_own_time_whatever_was_set_before() {
        let alarm = Alarm::default();
        for patience in [SECOND, 5 * SECOND, SECOND / 10] {
            let start = Instant::now();
            assert!(alarm.within(patience, pending::<()>()).await.is_err());
            assert_eq!(start.elapsed().as_millis() / 10, patience.as_millis() / 10);
            // Set for later than the next one needs, or for earlier.
            assert!(alarm.within(2 * SECOND, tokio::time::sleep(SECOND / 4)).await.is_ok());
        }
    }
}
