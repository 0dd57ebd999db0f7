//! How often reports of one kind are logged: a failure that comes with each request fills a log, and says the same each time.

use crate::{dialect::sqlstate::SqlState, retry::remedy::Cause};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// After it has admitted a report, a limiter leaves out others of that kind for this long.
const QUIET: Duration = Duration::from_secs(10);

/// What a report is about: why it failed, if it did.
pub(crate) type About = Option<(Cause, Option<SqlState>)>;

/// Limits the reports of one transaction, each kind by itself.
#[derive(Debug, Default)]
pub(crate) struct Limiter(Mutex<HashMap<About, Last>>);

#[derive(Debug)]
struct Last {
    admitted: Instant,
    /// How many reports the limiter has left out since.
    left_out: u64,
}

impl Limiter {
    /// Whether a report is logged now, and how many of its kind weren't since the last one.
    pub(crate) fn admits(&self, about: About, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kinds.entry(about) {
            Entry::Vacant(place) => {
                place.insert(Last { admitted: now, left_out: 0 });
                Some(0)
            }
            Entry::Occupied(mut place) => {
                let last = place.get_mut();
                if now.saturating_duration_since(last.admitted) < QUIET {
                    last.left_out += 1;
                    return None;
                }
                last.admitted = now;
                Some(std::mem::take(&mut last.left_out))
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
        let at = |secs| limiter.admits(None, start + Duration::from_secs(secs));
        assert_eq!([at(0), at(1), at(9)], [Some(0), None, None]);
        assert_eq!([at(10), at(11), at(30)], [Some(2), None, Some(1)]);
        assert_eq!(at(40), Some(0));
    }

    #[test]
    fn a_deadlock_hides_no_full_disk() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let disk_full = Some((Cause::Other, SqlState::new("53100")));
        let deadlock = Some((Cause::Deadlock, Some(SqlState::DEADLOCK_DETECTED)));
        for about in [deadlock, disk_full] {
            assert_eq!([limiter.admits(about, now), limiter.admits(about, now)], [Some(0), None]);
        }
    }
}
