//! How long an attempt waits for a lock, learned from what the transaction has lately needed.
//!
//! PostgreSQL looks for a deadlock only after `deadlock_timeout` (1 s by default), so a transaction that waits as long
//! as it may loses a second to every deadlock. One that gives up soon after the time it usually needs loses a few
//! milliseconds. The estimate is the one TCP uses for its retransmission timer: a smoothed mean, a smoothed deviation,
//! and a timeout of `mean + 4 × deviation`, doubled on every failure (RFC 6298).

use std::time::Duration;

/// Below this a lock timeout measures the scheduler, not the lock.
const SHORTEST: Duration = Duration::from_millis(4);

/// What a transaction that has never committed is taken to need.
const UNKNOWN: Duration = Duration::from_millis(50);

/// Each failure for a lock multiplies the patience of the next attempt by this.
const GROWTH: u32 = 2;

/// The longest wait that one transaction, by name, has lately needed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Patience {
    mean: f64,
    deviation: f64,
    known: bool,
}

impl Patience {
    /// Learns from a committed transaction whose longest statement took `longest`.
    #[must_use]
    pub fn learn(self, longest: Duration) -> Self {
        let sample = longest.as_secs_f64();
        if !self.known {
            return Self { mean: sample, deviation: sample / 2.0, known: true };
        }
        // RFC 6298, section 2: alpha = 1/8, beta = 1/4, the deviation first.
        let deviation = 0.75 * self.deviation + 0.25 * (self.mean - sample).abs();
        Self { mean: 0.875 * self.mean + 0.125 * sample, deviation, known: true }
    }

    /// The `lock_timeout` of an attempt: short at first, doubled after each failure for a lock, never above
    /// `configured`, and `configured` itself on the last attempt.
    #[must_use]
    pub fn lock_timeout(self, lock_failures: u32, is_last: bool, configured: Duration) -> Duration {
        if is_last {
            return configured;
        }
        let first = if self.known {
            Duration::from_secs_f64((self.mean + 4.0 * self.deviation).min(86_400.0))
        } else {
            UNKNOWN
        };
        let growth = GROWTH.saturating_pow(lock_failures);
        first.max(SHORTEST).saturating_mul(growth).min(configured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: Duration = Duration::from_millis(500);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn taught(samples: impl IntoIterator<Item = u64>) -> Patience {
        samples.into_iter().fold(Patience::default(), |p, n| p.learn(ms(n)))
    }

    #[test]
    fn settles_just_above_what_is_needed() {
        let steady = taught([3; 50]).lock_timeout(0, false, CONFIGURED);
        assert!((ms(3)..ms(5)).contains(&steady), "{steady:?}");
        let queue = taught((0..200).map(|n| 5 + n * 7 % 20)).lock_timeout(0, false, CONFIGURED);
        assert!(queue > ms(25), "a legitimate queue of 5 to 24 ms must fit: {queue:?}");
    }

    #[test]
    fn grows_with_every_failure_up_to_the_configured_one() {
        let patience = taught([5; 50]);
        let timeouts: Vec<_> =
            (0..10).map(|n| patience.lock_timeout(n, false, CONFIGURED)).collect();
        assert!(timeouts.is_sorted());
        assert_eq!(timeouts[1], 2 * timeouts[0]);
        assert_eq!(timeouts[9], CONFIGURED);
    }

    #[test]
    fn the_last_attempt_waits_as_long_as_configured_and_never_longer() {
        assert_eq!(taught([1; 9]).lock_timeout(0, true, CONFIGURED), CONFIGURED);
        assert_eq!(taught([9_000; 9]).lock_timeout(0, false, CONFIGURED), CONFIGURED);
        assert_eq!(Patience::default().lock_timeout(0, false, ms(10)), ms(10));
    }
}
