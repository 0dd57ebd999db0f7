//! How many retries this process may still afford.

use super::remedy::Cause;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// A bucket of tokens that retries spend and successes earn, shared by all transactions of a database.
///
/// While transactions succeed it is full and never felt. When most of them fail, retries would only add load to a
/// server in trouble: the bucket empties, and failures go to their callers at once, with a reason that says so.
///
/// A clone is the same bucket, so several databases on one server can share it.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use txsafe::{Budget, Cause};
///
/// let budget = Budget::new(50);
/// let retry = || budget.withdraw(Cause::TooManyConnections, Duration::ZERO);
/// assert!(retry(), "the first retries are affordable");
/// while retry() {}
/// assert!(!retry(), "then they are not");
/// for _ in 0..50 {
///     budget.deposit();
/// }
/// assert!(retry(), "successes earn new ones");
/// ```
#[derive(Clone)]
pub struct Budget {
    tokens: Arc<AtomicU32>,
    capacity: u32,
}

impl Budget {
    /// What one committed transaction earns.
    const EARNED: u32 = 3;

    /// A full bucket of `capacity` tokens. A deadlock costs 5 of them, a lock timeout 1 and one more per 50 ms that were
    /// waited, up to 10, a server without free connections 20; a committed transaction earns 3.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self { tokens: Arc::new(AtomicU32::new(capacity)), capacity }
    }

    /// The tokens left.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// The most tokens the bucket holds.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Pays for one retry after `cause`, for which the attempt had `waited` for a lock; `false`, and nothing is paid, if
    /// the tokens don't suffice.
    #[must_use]
    pub fn withdraw(&self, cause: Cause, waited: Duration) -> bool {
        let paid = |tokens: u32| tokens.checked_sub(price(cause, waited));
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid).is_ok()
    }

    /// Earns the tokens of one committed transaction.
    pub fn deposit(&self) {
        // Not a fetch_update while full: the common case must not make cores contend for the line.
        if self.tokens() < self.capacity {
            let earn = |tokens: u32| Some(tokens.saturating_add(Self::EARNED).min(self.capacity));
            let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earn);
        }
    }
}

impl Default for Budget {
    /// 1,000 tokens.
    fn default() -> Self {
        Self::new(1_000)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({} of {})", self.tokens(), self.capacity)
    }
}

/// The longer the failed attempt occupied the server, the dearer the next one.
fn price(cause: Cause, waited: Duration) -> u32 {
    match cause {
        Cause::LockTimeout => 1 + (waited.as_millis() / 50).min(9) as u32,
        Cause::Serialization => 2,
        Cause::Deadlock
        | Cause::FailedUnseen
        | Cause::StalePlan
        | Cause::StaleSession
        | Cause::OptedIn
        | Cause::CommitInDoubt
        | Cause::RecoveryConflict => 5,
        Cause::NoConnection | Cause::ConnectionLost | Cause::ReadOnlyServer => 10,
        Cause::TooManyConnections => 20,
        // These are never retried; if a caller opts in, they have held the server for long.
        Cause::LockNotAvailable
        | Cause::StatementCanceled
        | Cause::TransactionTimeout
        | Cause::OptedOut
        | Cause::Other => 20,
    }
}
