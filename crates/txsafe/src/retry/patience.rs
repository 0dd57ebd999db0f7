//! How patient a transaction is, learned from what its like has lately needed: how long an attempt waits for a lock, and
//! whether it hurries to the queue.
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
//!
//! Where nobody collides, giving up early serves nobody, and short timeouts have their price: each one interrupts a
//! waiting backend. So patience doubles with every so many commits without a collision, and is back at its start with
//! the first one.

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

/// After so many commits without a collision, early attempts wait twice as long.
const CALM: u8 = 128;

/// Doubled so often, a deadlock out of the blue costs 16 times what it costs in a storm: 80 ms where that is 5 ms.
const MOST_DOUBLINGS: u8 = 4;

/// Of the last commits, about so many decide whether there is a queue.
const QUEUE_MEMORY: u8 = 16;

/// What one transaction, by name, has lately needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Patience {
    /// The shortest of the window before, and of this one so far.
    before: Option<Duration>,
    now: Option<Duration>,
    commits: u8,
    /// Commits since the last collision or doubling.
    calm: u8,
    doublings: u8,
    /// One more with each commit that took as long as a queue, one less with each other, from 0 to `QUEUE_MEMORY`.
    queued: u8,
}

impl Patience {
    /// Learns from an attempt that committed, and took so long from BEGIN to the answer to COMMIT.
    #[must_use]
    pub(crate) fn learn(mut self, took: Duration) -> Self {
        if self.commits == WINDOW {
            self.before = self.now.take();
            self.commits = 0;
        }
        self.now = Some(self.now.map_or(took, |shortest| shortest.min(took)));
        self.commits += 1;
        self.calm += 1;
        if self.calm == CALM {
            self.calm = 0;
            self.doublings = (self.doublings + 1).min(MOST_DOUBLINGS);
        }
        self.queued = if took >= self.needed().saturating_mul(PEERS) {
            (self.queued + 1).min(QUEUE_MEMORY)
        } else {
            self.queued.saturating_sub(1)
        };
        self
    }

    /// Learns that an attempt ended in a deadlock or a lock timeout.
    #[must_use]
    pub(crate) fn collided(self) -> Self {
        Self { calm: 0, doublings: 0, ..self }
    }

    /// The `lock_timeout` of an attempt that `left` others may follow: a few times what is needed at first, then
    /// growing towards `configured`, which the last attempt gets, so that nobody starves.
    #[must_use]
    pub(crate) fn lock_timeout(self, left: u32, configured: Duration) -> Duration {
        let early = self.needed().saturating_mul(PEERS).max(SHORTEST);
        let calm = early.saturating_mul(1 << self.doublings);
        let late = configured / GROWTH.saturating_pow(left);
        calm.max(late).min(configured)
    }

    /// Whether most attempts wait for others, several times as long as they work.
    ///
    /// Then nothing is gained by a statement that travels with BEGIN: it would only stand in the queue for longer, and
    /// everybody who stands there costs the server a wake-up at each commit.
    #[must_use]
    pub(crate) fn is_queueing(self) -> bool {
        self.queued > QUEUE_MEMORY / 2
    }

    /// The shortest of the last attempts.
    fn needed(self) -> Duration {
        self.before.into_iter().chain(self.now).min().unwrap_or(UNKNOWN)
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
    fn calm_makes_patient_and_a_collision_ends_it() {
        let timeouts = |commits| taught(vec![1; commits]).lock_timeout(19, CONFIGURED);
        assert_eq!([1, 127, 128, 512, 9_999].map(timeouts), [5, 5, 10, 80, 80].map(ms));
        let collided = taught([1; 512]).collided();
        assert_eq!(collided.lock_timeout(19, CONFIGURED), ms(5));
        let again = [1; 127].into_iter().fold(collided, |patience, n| patience.learn(ms(n)));
        assert_eq!(again.lock_timeout(19, CONFIGURED), ms(5));
    }

    #[test]
    fn a_queue_is_where_most_wait_for_longer_than_they_work() {
        assert!(!Patience::default().is_queueing());
        assert!(!taught([2; 100]).is_queueing(), "all alike: nobody waits");
        assert!(!taught((0..100).map(|n| if n % 3 == 0 { 40 } else { 2 })).is_queueing());
        let queue = taught((0..100).map(|n| if n % 3 == 0 { 2 } else { 40 }));
        assert!(queue.is_queueing());
        let dissolved = [2; 10].into_iter().fold(queue, |patience, n| patience.learn(ms(n)));
        assert!(!dissolved.is_queueing());
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
