//! The waker that a transaction's closure is polled with: it notes when the closure was first woken.

#[cfg(feature = "origins")]
use super::origin::Trace;
#[cfg(feature = "origins")]
use crate::clock::excused::lock;
use crate::clock::times::now;
#[cfg(feature = "origins")]
use std::sync::{Mutex, Weak};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Wake, Waker},
};

/// A poll that waits for more than so many things is looked at by the first of them.
#[cfg(feature = "origins")]
const MOST_ASKED: usize = 16;

/// Wakes the task, and notes when.
pub(super) struct Alert {
    task: Waker,
    /// When it was first woken since it was polled; 0 if it wasn't.
    first: AtomicU64,
    /// The stack on which the waker was made that woke it then.
    #[cfg(feature = "origins")]
    by: Mutex<Option<Arc<Trace>>>,
    /// The stacks on which wakers were made in the last poll: what is waited for.
    #[cfg(feature = "origins")]
    asked: Mutex<Vec<Weak<Trace>>>,
}

impl Alert {
    pub(super) fn new(task: &Waker) -> Arc<Self> {
        Arc::new(Self {
            task: task.clone(),
            first: AtomicU64::new(0),
            #[cfg(feature = "origins")]
            by: Mutex::default(),
            #[cfg(feature = "origins")]
            asked: Mutex::default(),
        })
    }

    /// Whether it wakes the same task.
    pub(super) fn will_wake(&self, task: &Waker) -> bool {
        self.task.will_wake(task)
    }

    /// When it was first woken since this was asked last.
    pub(super) fn take(&self) -> Option<u64> {
        Some(self.first.swap(0, Ordering::Acquire)).filter(|&first| first != 0)
    }

    /// Notes the time; whether it is the first.
    fn note(&self) -> bool {
        self.first.load(Ordering::Relaxed) == 0
            && self.first.compare_exchange(0, now(), Ordering::Release, Ordering::Relaxed).is_ok()
    }
}

#[cfg(feature = "origins")]
impl Alert {
    /// Who was the first to wake it, if that is known.
    pub(super) fn take_trace(&self) -> Option<Arc<Trace>> {
        lock(&self.by).take()
    }

    /// A poll begins: what it will wait for isn't known yet.
    pub(super) fn poll_begins(&self) {
        lock(&self.asked).clear();
    }

    /// A waker was made on this stack.
    pub(super) fn asks(&self, trace: &Arc<Trace>) {
        let mut asked = lock(&self.asked);
        if asked.len() < MOST_ASKED {
            asked.push(Arc::downgrade(trace));
        }
    }

    /// What has been waited for since the last poll. Who has let its waker go doesn't wait any more.
    pub(super) fn asked(&self) -> Vec<Arc<Trace>> {
        lock(&self.asked).iter().filter_map(Weak::upgrade).collect()
    }

    /// Has the task polled, without a word of what is waited for.
    pub(super) fn wake_task(&self) {
        self.task.wake_by_ref();
    }

    /// A waker woke it that was made on this stack.
    pub(super) fn woke(&self, trace: Option<&Arc<Trace>>) {
        if self.note() {
            *lock(&self.by) = trace.cloned();
        }
        self.task.wake_by_ref();
    }
}

impl Wake for Alert {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.note();
        self.task.wake_by_ref();
    }
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alert").field("first", &self.first).finish_non_exhaustive()
    }
}
