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
        let (limits, read) = self.0?;
        (clock::since(read) < FRESH_FOR).then_some(limits)
    }

    /// They were read.
    pub fn keep(&mut self, limits: Limits) {
        self.0 = Some((limits, clock::now()));
    }

    /// Something may have changed them.
    pub fn forget(&mut self) {
        self.0 = None;
    }
}
