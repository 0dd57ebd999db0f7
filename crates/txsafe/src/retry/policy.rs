//! How often, how long and with which pauses a transaction is tried again.

use super::remedy::Cause;
use crate::invalid::{InvalidSetting, or_default};
use backon::{BackoffBuilder, ExponentialBuilder};
use std::{fmt, sync::Arc, time::Duration};

/// Bounds and pauses of the retries of one transaction.
///
/// Three bounds always hold: attempts, elapsed time and, outside this type, the [`Budget`](crate::Budget). No setting
/// removes one.
///
/// Pauses have an exponential ceiling ([`min_pause`](Self::min_pause), doubled each time up to
/// [`max_pause`](Self::max_pause)) and *full jitter*: each pause is drawn evenly from zero to the ceiling, from the
/// first one on, so that transactions that collided don't collide again in step.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use txsafe::RetryPolicy;
///
/// let policy = RetryPolicy::new()
///     .max_attempts(5)
///     .max_elapsed(Duration::from_secs(3))
///     .max_pause(Duration::from_millis(250));
/// assert!(policy.validate().is_ok());
///
/// let never = RetryPolicy::new().max_attempts(0).validate().unwrap_err();
/// assert!(never.to_string().contains("max_attempts"));
/// ```
#[derive(Clone)]
pub struct RetryPolicy {
    pub(crate) max_attempts: u32,
    pub(crate) max_elapsed: Duration,
    pub(crate) min_pause: Duration,
    pub(crate) max_pause: Duration,
    pauses: Option<PauseFactory>,
}

type PauseFactory = Arc<dyn Fn() -> Box<dyn Iterator<Item = Duration> + Send> + Send + Sync>;

impl RetryPolicy {
    /// At most 8 attempts within 15 s, with pauses whose ceiling grows from 2 ms to 1 s.
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_attempts: 8,
            max_elapsed: Duration::from_secs(15),
            min_pause: Duration::from_millis(2),
            max_pause: Duration::from_secs(1),
            pauses: None,
        }
    }

    /// How often the closure may run in all, the first time included. Default: 8.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// No attempt starts later than this after the first one started. Default: 15 s.
    #[must_use]
    pub fn max_elapsed(mut self, elapsed: Duration) -> Self {
        self.max_elapsed = elapsed;
        self
    }

    /// The ceiling of the first pause. Default: 2 ms. Where the connection was lost, or the server is full or read only, pauses have a
    /// hundred times the ceiling, at most [`max_pause`](Self::max_pause).
    #[must_use]
    pub fn min_pause(mut self, pause: Duration) -> Self {
        self.min_pause = pause;
        self
    }

    /// The highest ceiling of a pause. Default: 1 s.
    #[must_use]
    pub fn max_pause(mut self, pause: Duration) -> Self {
        self.max_pause = pause;
        self
    }

    /// Replaces the pauses by those of any iterator, taken as they are, without further jitter. `start` is called once
    /// for every transaction that needs a pause. When the iterator ends, so do the retries.
    ///
    /// The policies of other crates plug in here, those of the unmaintained `backoff` crate included:
    ///
    /// ```
    /// use backoff::{ExponentialBackoffBuilder, backoff::Backoff};
    /// use std::time::Duration;
    /// use txsafe::RetryPolicy;
    ///
    /// let policy = RetryPolicy::new().pauses(|| {
    ///     let mut policy = ExponentialBackoffBuilder::new()
    ///         .with_initial_interval(Duration::from_millis(5))
    ///         .with_randomization_factor(0.0)
    ///         .with_multiplier(3.0)
    ///         .build();
    ///     std::iter::from_fn(move || policy.next_backoff())
    /// });
    ///
    /// let first: Vec<_> = policy.pauses_of_one_transaction().take(3).collect();
    /// assert_eq!(first, [5, 15, 45].map(Duration::from_millis));
    /// ```
    #[must_use]
    pub fn pauses<I>(mut self, start: impl Fn() -> I + Send + Sync + 'static) -> Self
    where
        I: IntoIterator<Item = Duration>,
        I::IntoIter: Send + 'static,
    {
        self.pauses = Some(Arc::new(move || Box::new(start().into_iter())));
        self
    }

    /// The pauses that one transaction would get, in order: ceilings for the built-in pauses, which are then jittered,
    /// and plain pauses for those given by [`pauses`](Self::pauses).
    #[must_use]
    pub fn pauses_of_one_transaction(&self) -> Box<dyn Iterator<Item = Duration> + Send> {
        match &self.pauses {
            Some(start) => start(),
            None => Box::new(
                ExponentialBuilder::new()
                    .with_min_delay(self.min_pause)
                    .with_max_delay(self.max_pause)
                    .without_max_times()
                    .build(),
            ),
        }
    }

    /// The pause before the next attempt, or why there is none.
    ///
    /// Pure: it is told what happened (`cause`), how many attempts have been made, how much time they took, the next
    /// value of the pause sequence and the dice (evenly from 0 to 1).
    ///
    /// # Errors
    /// [`GiveUp`] names the bound that was reached.
    pub fn after(
        &self,
        cause: Cause,
        attempts: u32,
        elapsed: Duration,
        next_pause: Option<Duration>,
        dice: f64,
    ) -> Result<Duration, GiveUp> {
        if attempts >= self.max_attempts {
            return Err(GiveUp::Attempts(attempts));
        }
        let ceiling = next_pause.ok_or(GiveUp::PausesEnded)?;
        let pause = match &self.pauses {
            Some(_) => ceiling,
            None => self.ceiling_for(cause, ceiling).mul_f64(dice.clamp(0.0, 1.0)),
        };
        if elapsed.saturating_add(pause) > self.max_elapsed {
            return Err(GiveUp::Elapsed(elapsed));
        }
        Ok(pause)
    }

    /// Checks the settings against themselves.
    ///
    /// # Errors
    /// Names the setting that can't be meant, its value and the cure.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let invalid = |setting, value: String, cure| Err(InvalidSetting::new(setting, value, cure));
        if self.max_attempts == 0 {
            return invalid("max_attempts", "0".into(), "the first run counts: set 1 or more");
        }
        if self.max_elapsed.is_zero() {
            return invalid(
                "max_elapsed",
                "0s".into(),
                "set the longest time that retries may take",
            );
        }
        if self.pauses.is_some() {
            return Ok(());
        }
        if self.min_pause.is_zero() {
            return invalid(
                "min_pause",
                "0s".into(),
                "transactions that collided would collide again in step: set 1ms or more",
            );
        }
        if self.max_pause < self.min_pause {
            let value = format!("{:?}", self.max_pause);
            return invalid("max_pause", value, "set it to min_pause or more");
        }
        if self.max_pause > self.max_elapsed {
            let is_default = or_default(self.max_pause, Self::new().max_pause);
            let value = format!("{:?}{is_default}", self.max_pause);
            return invalid("max_pause", value, "a pause can't outlast max_elapsed: lower it");
        }
        Ok(())
    }

    /// A server without free connections, or one that is starting up, needs a hundred times longer than two rows that collided.
    fn ceiling_for(&self, cause: Cause, ceiling: Duration) -> Duration {
        const UNHURRIED: u32 = 100;
        match cause {
            Cause::TooManyConnections | Cause::ConnectionLost | Cause::ReadOnlyServer => {
                ceiling.saturating_mul(UNHURRIED).min(self.max_pause.max(ceiling))
            }
            // Replication goes on until it has caught up.
            Cause::RecoveryConflict => self.max_pause.max(ceiling),
            Cause::Deadlock
            | Cause::Serialization
            | Cause::LockTimeout
            | Cause::LockNotAvailable
            | Cause::StalePlan
            | Cause::StaleSession
            | Cause::NoConnection
            | Cause::CommitInDoubt
            | Cause::FailedUnseen
            | Cause::StatementCanceled
            | Cause::TransactionTimeout
            | Cause::OptedIn
            | Cause::OptedOut
            | Cause::Other => ceiling,
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("max_attempts", &self.max_attempts)
            .field("max_elapsed", &self.max_elapsed)
            .field("min_pause", &self.min_pause)
            .field("max_pause", &self.max_pause)
            .field("pauses", &if self.pauses.is_some() { "the caller's" } else { "full jitter" })
            .finish()
    }
}

/// The bound that ended the retries.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// So many attempts were made.
    Attempts(u32),
    /// The next attempt would have started too late; so much time had passed.
    Elapsed(Duration),
    /// The caller's deadline is too near for another attempt.
    Deadline,
    /// The [`Budget`](crate::Budget) of this database is empty.
    Budget,
    /// The caller's own sequence of pauses ended.
    PausesEnded,
    /// `transaction_once` runs its closure once, and `begin` has no closure to run again.
    Once,
    /// The transaction runs inside one of another database, which is the one that retries.
    Nested,
    /// The connection belongs to the caller and can't be replaced.
    BorrowedConnection,
    /// A stale plan came back on a fresh connection.
    Again,
    /// A statement that txsafe didn't see failed in each of three attempts.
    Unseen,
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempts(n) => write!(f, "attempts used up ({n})"),
            Self::Elapsed(t) => write!(f, "time for retries used up ({t:.1?} passed)"),
            Self::Deadline => f.write_str("the caller's deadline leaves no time for another attempt"),
            Self::Budget => f.write_str(
                "the retry budget of this database is empty: too many transactions fail at once",
            ),
            Self::PausesEnded => f.write_str("the given sequence of pauses ended"),
            Self::Once => f.write_str("`transaction_once` and `begin` run nothing again: use `transaction`, or the loop of `attempts`"),
            Self::Nested => f.write_str(
                "it ran inside a transaction of another `Database`, and only the outer one retries",
            ),
            Self::BorrowedConnection => f.write_str(
                "the connection was lost and is the caller's own: pass a pooled one, or use `transaction`",
            ),
            Self::Again => f.write_str("the same failure came back on a fresh connection"),
            Self::Unseen => f.write_str(
                "a statement that txsafe didn't see failed in each of three attempts, and may fail always",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn after(policy: &RetryPolicy, attempts: u32, elapsed: Duration) -> Result<Duration, GiveUp> {
        policy.after(Cause::Deadlock, attempts, elapsed, Some(8 * MS), 0.5)
    }

    #[test]
    fn every_bound_holds() {
        let policy = RetryPolicy::new().max_attempts(3).max_elapsed(100 * MS);
        assert_eq!(after(&policy, 1, 10 * MS), Ok(4 * MS));
        assert_eq!(after(&policy, 3, 10 * MS), Err(GiveUp::Attempts(3)));
        assert_eq!(after(&policy, 2, 97 * MS), Err(GiveUp::Elapsed(97 * MS)));
        assert_eq!(policy.after(Cause::Deadlock, 1, MS, None, 0.5), Err(GiveUp::PausesEnded));
    }

    #[test]
    fn jitter_is_full_and_finer_than_a_millisecond() {
        let policy = RetryPolicy::new();
        let at = |dice| policy.after(Cause::Deadlock, 1, MS, Some(MS), dice);
        assert_eq!(at(0.0), Ok(Duration::ZERO));
        assert_eq!(at(0.25), Ok(Duration::from_micros(250)));
        assert_eq!(at(1.0), Ok(MS));
    }

    #[test]
    fn a_full_server_gets_longer_pauses() {
        let policy = RetryPolicy::new();
        let pause = policy.after(Cause::TooManyConnections, 1, MS, Some(2 * MS), 1.0);
        assert_eq!(pause, Ok(200 * MS));
        // All of them, at most: full jitter takes half of that on average.
        let ceilings = policy.pauses_of_one_transaction().take(7);
        let pauses = ceilings.map(|it| policy.after(Cause::ConnectionLost, 1, MS, Some(it), 1.0));
        assert_eq!(pauses.sum::<Result<Duration, _>>(), Ok(5_400 * MS));
    }

    #[test]
    fn the_callers_pauses_are_taken_as_they_are() {
        let policy = RetryPolicy::new().pauses(|| [7 * MS]);
        assert_eq!(policy.after(Cause::TooManyConnections, 1, MS, Some(7 * MS), 0.1), Ok(7 * MS));
    }

    #[test]
    fn settings_that_cannot_be_meant_are_named() {
        for (policy, setting) in [
            (RetryPolicy::new().max_attempts(0), "max_attempts"),
            (RetryPolicy::new().max_elapsed(Duration::ZERO), "max_elapsed"),
            (RetryPolicy::new().min_pause(Duration::ZERO), "min_pause"),
            (RetryPolicy::new().max_pause(MS), "max_pause"),
            (RetryPolicy::new().max_elapsed(500 * MS), "max_pause"),
        ] {
            assert_eq!(policy.validate().unwrap_err().setting(), setting);
        }
    }
}
