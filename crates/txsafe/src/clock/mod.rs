//! What time it is, and where it goes. The rest of this crate asks here, so that a simulator replaces the clock in one place and
//! drives the run loops by its own.

pub(crate) mod excused;
pub(crate) mod times;

use std::{
    error::Error,
    fmt,
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

/// Replaces the clock of this process by `now`, for simulators. The driver still makes the pauses
/// ([`AsyncSource::sleep`](crate::driver::AsyncSource::sleep)) and bounds the waits for a server.
///
/// # Errors
/// If a call before has replaced it.
pub fn set_clock(now: fn() -> Instant) -> Result<(), ClockIsSet> {
    SOURCE.set(now).map_err(|_| ClockIsSet)
}

/// The clock of this process was replaced before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it says all that there is to say")]
pub struct ClockIsSet;

impl fmt::Display for ClockIsSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this process has a clock of its own already: call `set_clock` once, before the first transaction")
    }
}

impl Error for ClockIsSet {}
