//! How messages of the outbox are delivered: the bounds, and what follows from a failed attempt.

use crate::{
    invalid::InvalidSetting,
    retry::{policy::RetryPolicy, remedy::Cause},
};
use std::time::Duration;

/// Bounds of the delivery of messages; complete, and checked by [`validate`](Self::validate).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) lease: Duration,
    /// Of an async delivery; a blocking one can't be broken off.
    pub(crate) timeout: Duration,
    pub(crate) concurrency: usize,
    pub(crate) poll_interval: Duration,
    pub(crate) grace: Duration,
    pub(crate) max_attempts: u32,
    pub(crate) min_pause: Duration,
    pub(crate) max_pause: Duration,
}

/// What follows from a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// Another attempt, so much later.
    Retry(Duration),
    /// None; the message is dead.
    Bury,
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

impl Delivery {
    /// What follows from the failure of attempt number `attempts`, counted from 1. Pure: `dice` are thrown by the
    /// caller, evenly from 0 to 1.
    pub(crate) fn after_failure(&self, attempts: u32, dice: f64) -> AfterFailure {
        let policy = self.policy();
        let ceiling = policy.pauses_of_one_transaction().nth(attempts.saturating_sub(1) as usize);
        match policy.after(Cause::Other, attempts, Duration::ZERO, ceiling, dice) {
            Ok(pause) => AfterFailure::Retry(pause),
            Err(_attempts_used_up) => AfterFailure::Bury,
        }
    }

    /// Whether a message may be claimed as attempt number `attempts`. Beyond the bound, its last attempt ended without a
    /// word, as when it takes its worker down with it.
    pub(crate) fn allows(&self, attempts: u32) -> bool {
        attempts <= self.max_attempts
    }

    /// Checks the settings, each for itself and against the others.
    pub(crate) fn validate(&self) -> Result<(), InvalidSetting> {
        let invalid = |setting, value: String, cure| Err(InvalidSetting::new(setting, value, cure));
        for (setting, value, least, most, cure) in [
            (
                "lease",
                self.lease,
                SECOND,
                24 * HOUR,
                "set how long the message of a dead worker may wait, 1s to 24h",
            ),
            (
                "timeout",
                self.timeout,
                SECOND / 1_000,
                24 * HOUR,
                "set the longest a delivery may take, 1ms to 24h",
            ),
            ("poll_interval", self.poll_interval, SECOND / 100, HOUR, "set 10ms to 1h"),
            (
                "grace",
                self.grace,
                Duration::ZERO,
                HOUR,
                "who stops it won't wait that long: 1h is the longest",
            ),
            ("min_pause", self.min_pause, SECOND / 1_000, 24 * HOUR, "set 1ms to 24h"),
            (
                "max_pause",
                self.max_pause,
                self.min_pause,
                30 * 24 * HOUR,
                "set min_pause to 30 days",
            ),
        ] {
            if value < least || value > most {
                return invalid(setting, format!("{value:?}"), cure);
            }
        }
        if !(1..=1_000).contains(&self.concurrency) {
            let cure = "so many messages are delivered at once: set 1 to 1000";
            return invalid("concurrency", self.concurrency.to_string(), cure);
        }
        if !(1..=1_000).contains(&self.max_attempts) {
            let cure = "the first attempt counts: set 1 to 1000";
            return invalid("max_attempts", self.max_attempts.to_string(), cure);
        }
        Ok(())
    }

    /// The retries of transactions know the arithmetic of pauses. Nobody waits for a message, so time is no bound.
    fn policy(&self) -> RetryPolicy {
        RetryPolicy::new()
            .max_attempts(self.max_attempts)
            .max_elapsed(Duration::MAX)
            .min_pause(self.min_pause)
            .max_pause(self.max_pause)
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            lease: 30 * SECOND,
            timeout: 30 * SECOND,
            concurrency: 8,
            poll_interval: SECOND,
            grace: 10 * SECOND,
            max_attempts: 25,
            min_pause: SECOND,
            max_pause: HOUR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_ceiling_and_end_with_the_attempts() {
        let delivery = Delivery { max_attempts: 5, max_pause: 5 * SECOND, ..Delivery::default() };
        let after = |attempts, dice| delivery.after_failure(attempts, dice);
        for (attempts, ceiling) in [(1, 1), (2, 2), (3, 4), (4, 5)] {
            assert_eq!(after(attempts, 1.0), AfterFailure::Retry(ceiling * SECOND));
            assert_eq!(after(attempts, 0.0), AfterFailure::Retry(Duration::ZERO), "full jitter");
        }
        assert_eq!(after(5, 0.5), AfterFailure::Bury);
        assert!(delivery.allows(5) && !delivery.allows(6));
    }

    #[test]
    fn a_receiver_that_is_gone_for_half_a_working_day_loses_nothing_by_default() {
        let delivery = Delivery::default();
        let pauses = (1..=delivery.max_attempts).map(|n| delivery.after_failure(n, 0.5));
        let all: Duration = pauses
            .filter_map(|after| match after {
                AfterFailure::Retry(pause) => Some(pause),
                AfterFailure::Bury => None,
            })
            .sum();
        assert!(all > 6 * HOUR, "{all:?}");
    }

    #[test]
    fn settings_that_cannot_be_meant_are_named() {
        let default = Delivery::default;
        assert_eq!(default().validate(), Ok(()));
        for (delivery, parts) in [
            (Delivery { lease: Duration::ZERO, ..default() }, ["`lease`", "0ns", "1s to 24h"]),
            (Delivery { lease: 25 * HOUR, ..default() }, ["`lease`", "90000s", "1s to 24h"]),
            (Delivery { timeout: Duration::ZERO, ..default() }, ["`timeout`", "0ns", "1ms to 24h"]),
            (Delivery { concurrency: 0, ..default() }, ["`concurrency`", "0", "1 to 1000"]),
            (Delivery { concurrency: 1_001, ..default() }, ["`concurrency`", "1001", "1 to 1000"]),
            (Delivery { poll_interval: Duration::ZERO, ..default() }, ["`poll_", "0ns", "10ms"]),
            (Delivery { grace: Duration::MAX, ..default() }, ["`grace`", "s", "1h"]),
            (Delivery { max_attempts: 0, ..default() }, ["`max_attempts`", "0", "first"]),
            (Delivery { min_pause: Duration::ZERO, ..default() }, ["`min_pause`", "0ns", "1ms"]),
            (
                Delivery { max_pause: SECOND / 2, ..default() },
                ["`max_pause`", "500ms", "min_pause"],
            ),
        ] {
            let message = delivery.validate().unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}
