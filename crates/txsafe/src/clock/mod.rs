//! Time, and where it goes. Everything else in this crate asks here what time it is, so that a simulator can put a time of its own
//! in this one place and drive the run loops.

pub(crate) mod excused;
pub(crate) mod times;

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

static SOURCE: OnceLock<fn() -> Instant> = OnceLock::new();

/// The time.
pub(crate) fn now() -> Instant {
    SOURCE.get().map_or_else(Instant::now, |now| now())
}

/// How long ago that was.
pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}

/// Has `now` tell the time from here on, in this whole process: for simulators. Pauses are the driver's
/// ([`AsyncWork::sleep`](crate::driver::AsyncWork::sleep)), and so are waits for a server.
///
/// # Errors
/// If it has been set before.
pub fn set_clock(now: fn() -> Instant) -> Result<(), ClockIsSet> {
    SOURCE.set(now).map_err(|_| ClockIsSet)
}

/// The clock of a process is set once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it says all that there is to say")]
pub struct ClockIsSet;
