//! Where the time of a transaction went.

use std::{
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Where the time of one attempt went, while its closure ran.
///
/// What overlaps counts once: while a statement is waited for, the time is the database's, whatever else is waited for
/// beside it.
///
/// Of a blocking connection, `scheduling` is the time in which its thread was ready and had no processor, and `running`
/// the time on one. Where the system doesn't tell, they are part of `external`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// Waiting for the transaction's own statements.
    pub database: Duration,
    /// Waiting for what is allowed.
    pub allowed: Duration,
    /// Waiting for anything else.
    pub external: Duration,
    /// Ready to go on, and not yet polled: the runtime was busy.
    pub scheduling: Duration,
    /// Being polled.
    pub running: Duration,
}

/// The times of one attempt, kept while it runs.
#[derive(Debug, Default)]
pub struct Ledger {
    database: AtomicU64,
    allowed: AtomicU64,
    external: AtomicU64,
    scheduling: AtomicU64,
    running: AtomicU64,
}

/// What a wait was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Database,
    Allowed,
    External,
    Scheduling,
    Running,
}

impl Ledger {
    /// Adds nanoseconds.
    pub(crate) fn add(&self, wait: Wait, nanos: u64) {
        self.sum(wait).fetch_add(nanos, Relaxed);
    }

    fn sum(&self, wait: Wait) -> &AtomicU64 {
        match wait {
            Wait::Database => &self.database,
            Wait::Allowed => &self.allowed,
            Wait::External => &self.external,
            Wait::Scheduling => &self.scheduling,
            Wait::Running => &self.running,
        }
    }

    /// What was taken for one thing was another.
    #[cfg(feature = "origins")]
    pub(crate) fn correct(&self, from: Wait, to: Wait, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.sum(from).fetch_sub(nanos, Relaxed);
        self.sum(to).fetch_add(nanos, Relaxed);
    }

    /// The times so far.
    #[must_use]
    pub fn times(&self) -> Times {
        let read = |sum: &AtomicU64| Duration::from_nanos(sum.load(Relaxed));
        Times {
            database: read(&self.database),
            allowed: read(&self.allowed),
            external: read(&self.external),
            scheduling: read(&self.scheduling),
            running: read(&self.running),
        }
    }
}

impl Times {
    /// The sum.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.database + self.allowed + self.external + self.scheduling + self.running
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { database, allowed, external, scheduling, running } = self;
        let ms = |time: &Duration| time.as_secs_f64() * 1e3;
        write!(f, "database {:.1} ms, external {:.1} ms", ms(database), ms(external))?;
        if !allowed.is_zero() {
            write!(f, ", allowed {:.1} ms", ms(allowed))?;
        }
        write!(f, ", scheduling {:.1} ms, running {:.1} ms", ms(scheduling), ms(running))
    }
}

/// Nanoseconds since some moment in this process, never 0: for atomics, which hold no `Instant`.
pub(crate) fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    // 584 years.
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
}
