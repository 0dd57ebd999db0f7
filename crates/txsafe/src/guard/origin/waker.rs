//! The waker whose clones are objects of their own, and the walk up the stack that each of them does. The only module with
//! `unsafe` code.
//!
//! The standard library's `Wake` makes a waker of an `Arc`, and clones of it are clones of the `Arc`: which of them woke
//! the task can't be told. `RawWaker` can make a clone something new, and asks for four functions over a raw pointer.
//!
//! There are two kinds. The *root* is what the closure is polled with; its pointer is an `Arc<Alert>`. A *leaf* is what a
//! clone of it is, and clones of a leaf are the same leaf; its pointer is an `Arc<Origin>`.
//!
//! What all of it rests on, and each `SAFETY` refers to:
//!
//! 1. A root's data pointer is made by `Arc::into_raw` of an `Arc<Alert>`, in `waker` alone; a leaf's by
//!    `Arc::into_raw` of an `Arc<Origin>`, in `clone_root` and `clone_leaf` alone.
//! 2. Each waker owns one strong count of its `Arc`. `wake` and `drop` consume it; `clone` makes a new one; `wake_by_ref`
//!    leaves it.
//! 3. The functions of `ROOT` are called with a root's pointer only and those of `LEAF` with a leaf's, because pointer and
//!    table go into one `RawWaker` together and `Waker` keeps them together.
//! 4. `Alert` and `Origin` are `Send` and `Sync`, as a `Waker` must be; `assert_shared` has the compiler check it.

use super::trace::Trace;
use crate::guard::{scope::is_watched, wake::Alert};
use std::{
    mem::ManuallyDrop,
    sync::Arc,
    task::{RawWaker, RawWakerVTable, Waker},
};

/// One clone of the waker.
#[derive(Debug)]
struct Origin {
    alert: Arc<Alert>,
    /// Where it was made; nothing is noted of what is the driver's own, or is allowed.
    trace: Option<Arc<Trace>>,
}

impl Origin {
    fn woke(&self) {
        self.alert.woke(self.trace.as_ref());
    }
}

/// The waker to poll with.
pub(in crate::guard) fn waker(alert: Arc<Alert>) -> Waker {
    let data = Arc::into_raw(alert).cast::<()>();
    // SAFETY: (1) makes a root's pointer, which owns one count (2), and goes with `ROOT` (3). The functions of `ROOT` keep
    // the contract of `RawWakerVTable`: they are thread-safe (4), `clone` gives a waker of the same task, `wake` and `drop`
    // release what the waker owns.
    unsafe { Waker::from_raw(RawWaker::new(data, &ROOT)) }
}

/// Shows the frames of this thread's stack, innermost first, until it is told to stop.
///
/// `backtrace::trace` would lock out whoever looks names up at the same time, which may take a tenth of a second: a
/// transaction must not wait for that.
pub(super) fn walk(show: impl FnMut(&backtrace::Frame) -> bool) {
    #[cfg(unix)]
    // SAFETY: what isn't synchronized is the state that `backtrace` keeps for its own use. On Unix a walk has none: it is
    // `_Unwind_Backtrace` of this thread's stack, which panics on many threads use at once. Names are looked up under the
    // crate's lock.
    unsafe {
        backtrace::trace_unsynchronized(show);
    }
    #[cfg(not(unix))]
    backtrace::trace(show);
}

static ROOT: RawWakerVTable =
    RawWakerVTable::new(clone_root, wake_root, wake_root_by_ref, drop_root);
static LEAF: RawWakerVTable =
    RawWakerVTable::new(clone_leaf, wake_leaf, wake_leaf_by_ref, drop_leaf);

unsafe fn clone_root(data: *const ()) -> RawWaker {
    // SAFETY: a root's pointer (3), whose count stays with the waker that is cloned (2): so it must not be dropped here.
    let root = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Alert>()) });
    let trace = is_watched().then(|| Arc::new(Trace::capture()));
    if let Some(trace) = &trace {
        root.asks(trace);
    }
    let origin = Arc::new(Origin { alert: Arc::clone(&root), trace });
    // A leaf's pointer, with one count of its own (1, 2).
    RawWaker::new(Arc::into_raw(origin).cast::<()>(), &LEAF)
}

unsafe fn wake_root(data: *const ()) {
    // SAFETY: a root's pointer (3), whose count is consumed (2): dropped at the end.
    unsafe { Arc::from_raw(data.cast::<Alert>()) }.woke(None);
}

unsafe fn wake_root_by_ref(data: *const ()) {
    // SAFETY: a root's pointer (3), whose count stays with the waker (2).
    ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Alert>()) }).woke(None);
}

unsafe fn drop_root(data: *const ()) {
    // SAFETY: a root's pointer (3), whose count is consumed (2).
    drop(unsafe { Arc::from_raw(data.cast::<Alert>()) });
}

unsafe fn clone_leaf(data: *const ()) -> RawWaker {
    // SAFETY: a leaf's pointer (3), whose count stays with the waker that is cloned (2): so it must not be dropped here.
    let origin = ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Origin>()) });
    // A leaf's pointer, with one count of its own (1, 2).
    RawWaker::new(Arc::into_raw(Arc::clone(&origin)).cast::<()>(), &LEAF)
}

unsafe fn wake_leaf(data: *const ()) {
    // SAFETY: a leaf's pointer (3), whose count is consumed (2): dropped at the end.
    unsafe { Arc::from_raw(data.cast::<Origin>()) }.woke();
}

unsafe fn wake_leaf_by_ref(data: *const ()) {
    // SAFETY: a leaf's pointer (3), whose count stays with the waker (2).
    ManuallyDrop::new(unsafe { Arc::from_raw(data.cast::<Origin>()) }).woke();
}

unsafe fn drop_leaf(data: *const ()) {
    // SAFETY: a leaf's pointer (3), whose count is consumed (2).
    drop(unsafe { Arc::from_raw(data.cast::<Origin>()) });
}

const _: () = {
    const fn assert_shared<T: Send + Sync>() {}
    assert_shared::<Alert>();
    assert_shared::<Origin>();
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
        thread,
    };

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_way_to_wake_wakes_and_nothing_is_left_behind() {
        let task = Arc::<Task>::default();
        let alert = Alert::new(&Waker::from(Arc::clone(&task)));
        let root = waker(Arc::clone(&alert));
        let leaf = root.clone();
        let second = leaf.clone();
        assert!(leaf.will_wake(&second) && !leaf.will_wake(&root));

        root.wake_by_ref();
        leaf.wake_by_ref();
        thread::spawn(move || second.wake()).join().unwrap();
        drop(leaf);
        root.wake();
        assert_eq!(task.0.load(Ordering::Relaxed), 4);
        assert_eq!(Arc::strong_count(&alert), 1, "each waker has let go");
        drop(alert);
        assert_eq!(Arc::strong_count(&task), 1);
    }

    #[test]
    fn wakers_may_be_cloned_and_dropped_on_many_threads() {
        let task = Arc::<Task>::default();
        let alert = Alert::new(&Waker::from(Arc::clone(&task)));
        let root = waker(Arc::clone(&alert));
        thread::scope(|scope| {
            for _ in 0..4 {
                let root = &root;
                scope.spawn(move || {
                    for _ in 0..1_000 {
                        let leaf = root.clone();
                        let again = leaf.clone();
                        drop(leaf);
                        again.wake();
                    }
                });
            }
        });
        drop(root);
        assert_eq!(task.0.load(Ordering::Relaxed), 4_000);
        assert_eq!(Arc::strong_count(&alert), 1);
    }
}
