//! What a worker waits for beside the clock: messages that were committed in this process, ends of deliveries, the stop.

use super::mark::Ended;
use futures_util::task::AtomicWaker;
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

/// Those of all workers that run in this process.
static HEARD: Mutex<Vec<Arc<Bell>>> = Mutex::new(Vec::new());

/// The bell of one worker.
#[derive(Debug, Default)]
pub(super) struct Bell {
    topics: Vec<Arc<str>>,
    rung: Mutex<Rung>,
    changed: Condvar,
    waker: AtomicWaker,
}

/// What has happened since the worker looked last.
#[derive(Debug, Default)]
pub(super) struct Rung {
    pub(super) is_woken: bool,
    pub(super) is_stopped: bool,
    /// Deliveries on threads of their own.
    pub(super) ended: Vec<Ended>,
}

/// Whether any worker runs in this process.
pub(super) fn is_heard() -> bool {
    !lock(&HEARD).is_empty()
}

/// A message of `topic` was committed. Whether it was in the worker's own database isn't known: one that looks in vain
/// loses a query.
pub(super) fn ring(topic: &str) {
    for bell in lock(&HEARD).iter().filter(|bell| bell.topics.iter().any(|known| **known == *topic))
    {
        bell.change(|rung| rung.is_woken = true);
    }
}

impl Rung {
    /// Whether nothing has happened, to one who knows already that it is to stop, or doesn't.
    pub(super) fn is_quiet(&self, knows_stop: bool) -> bool {
        !self.is_woken && self.ended.is_empty() && (knows_stop || !self.is_stopped)
    }
}

impl Bell {
    pub(super) fn new(topics: Vec<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { topics, ..Self::default() })
    }

    pub(super) fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    /// Is heard until the guard is dropped.
    pub(super) fn listen(self: &Arc<Self>) -> impl Drop + use<> {
        lock(&HEARD).push(Arc::clone(self));
        Listening(Arc::clone(self))
    }

    /// The worker is to stop.
    pub(super) fn stop(&self) {
        self.change(|rung| rung.is_stopped = true);
    }

    /// A delivery has ended, and is to be marked.
    pub(super) fn end(&self, ended: Ended) {
        self.change(|rung| rung.ended.push(ended));
    }

    /// Whether a message was committed since this was asked last.
    pub(super) fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if std::mem::take(&mut lock(&self.rung).is_woken) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the worker is to stop.
    pub(super) fn is_stopped(&self) -> bool {
        lock(&self.rung).is_stopped
    }

    /// Waits until something happens, for at most `patience`.
    pub(super) fn wait(&self, patience: Duration, knows_stop: bool) -> Rung {
        let is_quiet = |rung: &mut Rung| rung.is_quiet(knows_stop);
        let rung = self.changed.wait_timeout_while(lock(&self.rung), patience, is_quiet);
        self.take(rung.map_or_else(|poisoned| poisoned.into_inner().0, |(rung, _)| rung))
    }

    /// What has happened, without waiting.
    pub(super) fn look(&self) -> Rung {
        self.take(lock(&self.rung))
    }

    fn take(&self, mut rung: MutexGuard<'_, Rung>) -> Rung {
        let is_stopped = rung.is_stopped;
        std::mem::replace(&mut rung, Rung { is_stopped, ..Rung::default() })
    }

    fn change(&self, change: impl FnOnce(&mut Rung)) {
        change(&mut lock(&self.rung));
        self.changed.notify_all();
        self.waker.wake();
    }
}

struct Listening(Arc<Bell>);

impl Drop for Listening {
    fn drop(&mut self) {
        lock(&HEARD).retain(|bell| !Arc::ptr_eq(bell, &self.0));
    }
}

/// A panic in between leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::{claim::Claim, delivery::Delivery, mark::End};
    use super::*;
    use std::time::Instant;

    #[test]
    fn those_who_know_the_topic_are_woken() {
        let (receipts, invoices) =
            (Bell::new(vec!["receipt".into()]), Bell::new(vec!["invoice".into()]));
        let heard = (receipts.listen(), invoices.listen());
        ring("receipt");
        assert!(receipts.look().is_woken && !invoices.look().is_woken);
        assert!(!receipts.look().is_woken, "it was told");
        drop(heard);
        ring("receipt");
        assert!(!receipts.look().is_woken);
    }

    #[test]
    fn a_stop_is_told_each_time_and_waited_for_once() {
        let bell = Bell::new(Vec::new());
        bell.stop();
        assert!(bell.wait(Duration::MAX, false).is_stopped);
        let row = ["t", "k", "", "1", "0", "lease"].map(String::from).to_vec();
        let claim = Claim::read(row, Instant::now());
        bell.end(Ended::new(&Delivery::default(), claim, End::Delivered, 0.5));
        let rung = bell.wait(Duration::MAX, true);
        assert!(rung.is_stopped && rung.ended.len() == 1);
        assert!(bell.wait(Duration::ZERO, true).is_quiet(true));
    }
}
