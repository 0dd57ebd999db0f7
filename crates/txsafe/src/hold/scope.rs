//! Which transaction this task is inside of, seen on every poll.
//!
//! A counter of BEGINs would drift; a task-local would miss other runtimes. The run loops enter the scope each time
//! they poll the closure (or call it, when blocking) and leave it after, so what the scope says is true under `join!`,
//! `select!`, cancellation and panics. Work that was spawned is not inside.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    panic::Location,
    pin::pin,
    sync::Arc,
};

/// A transaction that is running the code that asks.
#[derive(Debug, Clone)]
pub struct Frame {
    pub(crate) database: u64,
    /// The same for all that lead to one database, where it is known.
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) transaction: Arc<str>,
    pub(crate) place: &'static Location<'static>,
}

thread_local! {
    static RUNNING: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Runs `future` inside `frame`.
pub(crate) async fn within<F: Future>(frame: Frame, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _inside = enter(frame.clone());
        future.as_mut().poll(cx)
    })
    .await
}

/// Enters `frame` until the guard is dropped.
pub(crate) fn enter(frame: Frame) -> impl Drop {
    RUNNING.with_borrow_mut(|running| running.push(frame));
    Leave
}

/// The innermost transaction on `database`, or on one of the same identity, that runs this code.
pub(crate) fn running_on(database: u64, identity: Option<&str>) -> Option<Frame> {
    let is_it = |frame: &&Frame| {
        frame.database == database || (identity.is_some() && frame.identity.as_deref() == identity)
    };
    RUNNING.with_borrow(|running| running.iter().rev().find(is_it).cloned())
}

/// Whether any transaction runs this code.
pub(crate) fn is_inside_any() -> bool {
    RUNNING.with_borrow(|running| !running.is_empty())
}

struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        RUNNING.with_borrow_mut(Vec::pop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    fn frame(database: u64) -> Frame {
        let identity = (database == 1).then(|| "one".into());
        Frame { database, identity, transaction: "t".into(), place: Location::caller() }
    }

    #[test]
    fn a_scope_holds_during_a_poll_and_not_between_polls() {
        let mut polls = 0;
        let body = poll_fn(|_| {
            assert!(running_on(1, None).is_some() && running_on(2, None).is_none());
            assert!(running_on(2, Some("one")).is_some() && running_on(2, Some("two")).is_none());
            polls += 1;
            if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
        });
        let mut inside = pin!(within(frame(1), body));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(inside.as_mut().poll(&mut cx).is_pending());
        assert!(!is_inside_any());
        assert!(inside.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn a_panic_leaves_the_scope() {
        let unwound = std::panic::catch_unwind(|| {
            let _inside = enter(frame(1));
            panic!("on purpose");
        });
        assert!(unwound.is_err() && !is_inside_any());
    }
}
