//! What happened, in numbers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hdrhistogram::Histogram;
use txsafe_diesel::Cause;

/// What is counted while a mode runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    committed: AtomicU64,
    failed: AtomicU64,
    deadlocks: AtomicU64,
    lock_timeouts: AtomicU64,
    retries: AtomicU64,
}

impl Counters {
    pub(crate) fn add_answer(&self, answer: Answer) {
        let counter = match answer {
            Answer::Committed => &self.committed,
            Answer::Failed | Answer::Unknown => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_cause(&self, cause: Cause) {
        let counter = match cause {
            Cause::Deadlock => &self.deadlocks,
            Cause::LockTimeout => &self.lock_timeouts,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_retries(&self, retries: u32) {
        self.retries.fetch_add(retries.into(), Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            committed: self.committed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            deadlocks: self.deadlocks.load(Ordering::Relaxed),
            lock_timeouts: self.lock_timeouts.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Requests whose caller was told "done".
    pub(crate) committed: u64,
    /// Requests whose caller got an error.
    pub(crate) failed: u64,
    /// Deadlocks that the server reported.
    pub(crate) deadlocks: u64,
    /// Lock timeouts that the server reported.
    pub(crate) lock_timeouts: u64,
    /// Attempts after the first one.
    pub(crate) retries: u64,
}

/// What a caller was told of its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done.
    Committed,
    /// It is not done.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// All that is known of one mode's run.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Latencies,
    /// What the callers were told, by operation.
    pub(crate) answers: Vec<(i64, Answer)>,
    /// The first failure that wasn't a collision of locks.
    pub(crate) first_oddity: Option<String>,
}

impl Tally {
    pub(crate) fn per_second(&self) -> f64 {
        self.counts.committed as f64 / self.elapsed.as_secs_f64()
    }
}

/// How long callers waited for their answers, whatever these were.
#[derive(Debug)]
pub(crate) struct Latencies {
    microseconds: Histogram<u64>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        // One microsecond to ten minutes, in three digits.
        let microseconds = Histogram::new_with_bounds(1, 600_000_000, 3);
        Self {
            microseconds: microseconds.unwrap_or_else(|_| unreachable!("the bounds are in order")),
        }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.microseconds.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can be left out.
        let _ = self.microseconds.add(&other.microseconds);
    }

    /// In milliseconds.
    pub(crate) fn percentile_ms(&self, percentile: f64) -> f64 {
        self.microseconds.value_at_percentile(percentile) as f64 / 1_000.0
    }
}
