//! Where a wait comes from: the line of the `.await` that waited.
//!
//! Whoever waits for something leaves a clone of the task's waker there. Here each clone is an object of its own that knows
//! the stack on which it was made; the one that wakes the task first names what was waited for. A stack is a list of
//! addresses until something was found: their names are looked up by a thread of its own, which takes its time.

mod clerk;
mod names;
mod question;
mod trace;
#[expect(unsafe_code, reason = "a waker whose clones are objects of their own needs a RawWaker")]
mod waker;

pub(super) use self::{
    clerk::{ask, look_out},
    names::{Awaited, Names},
    question::Questions,
    trace::Trace,
    waker::waker,
};
