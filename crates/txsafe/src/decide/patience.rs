//! How long an attempt waits for a lock, learned from what the transaction has lately needed.
//!
//! PostgreSQL looks for a deadlock only after `deadlock_timeout` (1 s by default), so a transaction that waits as long
//! as it may loses a second to every deadlock. One that gives up after a few times what it needs itself loses a few
//! milliseconds.
//!
//! What it *needs* must not include what it waited: a long wait would teach the next attempt to wait longer, hold its
//! own locks longer, and make others wait in turn, until all wait for the deadlock detector again. So it is the
//! shortest of the last attempts that committed, the one that met nobody (BBR estimates the delay of a network path
//! in this way, for the same reason). In a legitimate queue on one row all attempts wait, the shortest does too, and
//! patience follows.

use std::time::Duration;

/// Below this a lock timeout measures the scheduler, not the lock.
const SHORTEST: Duration = Duration::from_millis(5);

/// What a transaction that has never committed is taken to need.
const UNKNOWN: Duration = Duration::from_millis(4);

/// An early attempt waits for so many transactions like itself.
const PEERS: u32 = 4;

/// Towards the last attempt, each waits so many times longer than the one before.
const GROWTH: u32 = 4;

/// The shortest is taken over one to two windows of so many commits.
const WINDOW: u8 = 32;

/// What one transaction, by name, has lately needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Patience {
    /// The shortest of the window before, and of this one so far.
    before: Option<Duration>,
    now: Option<Duration>,
    commits: u8,
}

impl Patience {
    /// Learns from an attempt that committed, and took so long from BEGIN to the answer to COMMIT.
    #[must_use]
    pub fn learn(self, took: Duration) -> Self {
        if self.commits == WINDOW {
            return Self { before: self.now, now: Some(took), commits: 1 };
        }
        let now = Some(self.now.map_or(took, |shortest| shortest.min(took)));
        Self { now, commits: self.commits + 1, ..self }
    }

    /// The `lock_timeout` of an attempt that `left` others may follow: a few times what is needed at first, then
    /// growing towards `configured`, which the last attempt gets, so that nobody starves.
    #[must_use]
    pub fn lock_timeout(self, left: u32, configured: Duration) -> Duration {
        let needed = match (self.before, self.now) {
            (Some(before), Some(now)) => before.min(now),
            (Some(shortest), None) | (None, Some(shortest)) => shortest,
            (None, None) => UNKNOWN,
        };
        let late = configured / GROWTH.saturating_pow(left);
        needed.saturating_mul(PEERS).max(SHORTEST).max(late).min(configured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: Duration = Duration::from_secs(2);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn taught(samples: impl IntoIterator<Item = u64>) -> Patience {
        samples.into_iter().fold(Patience::default(), |patience, n| patience.learn(ms(n)))
    }

    #[test]
    fn a_queue_is_waited_for_and_collisions_are_not() {
        let queue = taught((0..100).map(|n| 15 + n % 20));
        assert_eq!(queue.lock_timeout(9, CONFIGURED), ms(60), "all wait: the shortest 15 ms");
        let storm = taught((0..100).map(|n| 2 + n % 10 * 200));
        assert_eq!(storm.lock_timeout(9, CONFIGURED), ms(8), "long waits don't teach to wait");
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let slower = taught([1].into_iter().chain([10; 64]));
        assert_eq!(slower.lock_timeout(9, CONFIGURED), ms(40));
        let faster = slower.learn(ms(2));
        assert_eq!(faster.lock_timeout(9, CONFIGURED), ms(8));
    }

    #[test]
    fn grows_late_and_the_last_attempt_waits_as_configured() {
        let patience = taught([3; 50]);
        let timeouts: Vec<_> =
            (0..10).rev().map(|left| patience.lock_timeout(left, CONFIGURED)).collect();
        assert!(timeouts.is_sorted());
        assert_eq!(timeouts[..6], [ms(12); 6]);
        assert_eq!(timeouts[7..], [ms(125), ms(500), CONFIGURED]);
    }

    #[test]
    fn never_longer_than_configured() {
        assert_eq!(taught([9_000; 9]).lock_timeout(9, CONFIGURED), CONFIGURED);
        assert_eq!(Patience::default().lock_timeout(9, ms(2)), ms(2));
        assert_eq!(Patience::default().lock_timeout(9, CONFIGURED), ms(16));
    }
}
