//! A bound on waiting for the server that costs nothing as long as the server answers.
//!
//! A timer per COMMIT would be set and cleared for every transaction, and each time wake the runtime's driver. Here a wait
//! only remembers its own end, and when the timer rings too early it is set again. A timer that nobody waits for any
//! more goes to the next who needs one.
//!
//! A paused clock of tokio's, as in tests, jumps to the next timer as soon as all tasks wait, and a server's answer is no timer:
//! each bound would end at once. There real time counts, on a thread, which keeps the clock from jumping meanwhile.

use std::{
    future::{Future, poll_fn},
    hint, mem,
    pin::{Pin, pin},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    runtime::{Handle, Id},
    task::{JoinHandle, spawn_blocking, unconstrained},
    time::{Instant, Sleep, sleep, sleep_until},
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
        let start = Instant::now();
        let mut timer = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            let timer = timer.get_or_insert_with(|| RealTime::if_paused(start, patience));
            let rings = match timer {
                Some(real) => real.poll(cx),
                None => self.poll(cx, start + patience),
            };
            rings.map(|()| Err(Elapsed))
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
        // What is waited for may use up all that the runtime grants a task at once, as rows without end do.
        while pin!(unconstrained(sleep.as_mut())).poll(cx).is_ready() {
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

/// Waits for `after`, in real time if tokio's clock is paused: the bound of a wait for a server.
pub async fn deadline(after: Duration) {
    match RealTime::if_paused(Instant::now(), after) {
        Some(mut real) => poll_fn(|cx| real.poll(cx)).await,
        None => unconstrained(sleep(after)).await,
    }
}

/// A thread that waits, until the time is up or this is dropped. Tokio doesn't advance a paused clock while one runs.
struct RealTime {
    is_up: JoinHandle<()>,
    _is_dropped: mpsc::Sender<()>,
}

impl RealTime {
    /// If tokio's clock has stood still since `start`, which was just now.
    fn if_paused(start: Instant, patience: Duration) -> Option<Self> {
        if Instant::now() != start {
            return None;
        }
        // A coarse clock may show one time twice.
        let real = std::time::Instant::now();
        while real.elapsed() < Duration::from_micros(20) {
            hint::spin_loop();
        }
        if Instant::now() != start {
            return None;
        }
        let (sender, dropped) = mpsc::channel::<()>();
        let is_up = spawn_blocking(move || _ = dropped.recv_timeout(patience));
        Some(Self { is_up, _is_dropped: sender })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        pin!(unconstrained(&mut self.is_up)).poll(cx).map(drop)
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
    use futures_util::future::{Either, select};
    use std::thread;
    use tokio::{sync::oneshot, task::consume_budget};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn rings_after_its_own_time_whatever_was_set_before() {
        let alarm = Alarm::default();
        for patience in [SECOND, 5 * SECOND, SECOND / 10] {
            let start = Instant::now();
            poll_fn(|cx| alarm.poll(cx, start + patience)).await;
            assert_eq!(start.elapsed().as_millis() / 10, patience.as_millis() / 10);
            // Set for later than the next one needs, or for earlier.
            let later = Instant::now() + 2 * SECOND;
            assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx, later))).await.is_pending());
        }
    }

    /// What a server would answer after so much real time.
    fn answer(after: Duration) -> oneshot::Receiver<()> {
        let (sender, answer) = oneshot::channel();
        thread::spawn(move || {
            thread::sleep(after);
            let _ = sender.send(());
        });
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_leaves_the_server_its_time() {
        let (alarm, start) = (Alarm::default(), Instant::now());
        assert!(alarm.within(60 * SECOND, answer(SECOND / 20)).await.is_ok());
        let real = std::time::Instant::now();
        assert!(alarm.within(SECOND / 20, answer(60 * SECOND)).await.is_err());
        deadline(SECOND / 20).await;
        assert!(real.elapsed() >= SECOND / 10);
        assert_eq!(Instant::now(), start, "the test's own timers haven't moved");
        sleep(60 * SECOND).await;
        assert!(real.elapsed() < 30 * SECOND);
    }

    #[tokio::test]
    async fn rings_for_what_is_never_at_rest() {
        let busy = async || {
            let start = Instant::now();
            while start.elapsed() < 20 * SECOND {
                consume_budget().await;
            }
        };
        assert!(Alarm::default().within(SECOND / 20, busy()).await.is_err());
        let (busy, rings) = (pin!(busy()), pin!(deadline(SECOND / 20)));
        assert!(matches!(select(busy, rings).await, Either::Right(_)));
    }

    #[tokio::test]
    async fn a_clock_that_runs_needs_no_thread() {
        assert!(RealTime::if_paused(Instant::now(), SECOND).is_none());
    }
}
