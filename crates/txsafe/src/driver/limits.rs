//! What a connection remembers of the limits of its session.

use crate::{clock, dialect::limits::Limits};
use std::time::{Duration, Instant};

/// The limits of a session are read again after so long: a server that was told to reload its configuration, or a function,
/// may have changed them unseen.
const FRESH_FOR: Duration = Duration::from_secs(60);

/// The limits of a session, from when they were read until something may have changed them.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownLimits(Option<(Limits, Instant)>);

impl KnownLimits {
    /// The limits; `None` if they are to be read.
    #[must_use]
    pub fn get(&self) -> Option<Limits> {
        self.at(clock::now())
    }

    /// Keeps the limits that were just read, until something may have changed them.
    pub fn keep(&mut self, limits: Limits) {
        self.0 = Some((limits, clock::now()));
    }

    /// Something may have changed them.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    fn at(&self, now: Instant) -> Option<Limits> {
        let (limits, read) = self.0?;
        (now.saturating_duration_since(read) < FRESH_FOR).then_some(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_again_after_a_minute_and_when_something_may_have_changed_them() {
        let mut known = KnownLimits::default();
        assert_eq!(known.get(), None);
        let limits = Limits { lock_timeout: Some(Duration::from_millis(20)), ..Limits::default() };
        known.keep(limits);
        let read = clock::now();
        assert_eq!(known.at(read + Duration::from_secs(59)), Some(limits));
        assert_eq!(known.at(read + Duration::from_secs(60)), None);
        assert_eq!(known.get(), Some(limits));
        known.forget();
        assert_eq!(known.get(), None);
    }
}
