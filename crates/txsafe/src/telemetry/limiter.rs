//! How often events of one kind are logged: a failure that comes with each request fills a log, and says the same each time.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// After one event of a kind, as long others of that kind aren't logged.
const QUIET: Duration = Duration::from_secs(10);

/// Limits the events of one kind.
#[derive(Debug, Default)]
pub(crate) struct Limiter(Mutex<Option<Last>>);

#[derive(Debug)]
struct Last {
    logged: Instant,
    /// So many weren't, since.
    left_out: u64,
}

impl Limiter {
    /// Whether an event is logged now, and how many weren't since the last one.
    pub(crate) fn admits(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some(last) if now.saturating_duration_since(last.logged) < QUIET => {
                last.left_out += 1;
                None
            }
            _ => {
                let before = last.replace(Last { logged: now, left_out: 0 });
                Some(before.map_or(0, |last| last.left_out))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_ten_seconds_says_how_many_it_stands_for() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        let at = |secs| limiter.admits(start + Duration::from_secs(secs));
        assert_eq!([at(0), at(1), at(9)], [Some(0), None, None]);
        assert_eq!([at(10), at(11), at(30)], [Some(2), None, Some(1)]);
        assert_eq!(at(40), Some(0));
    }
}
