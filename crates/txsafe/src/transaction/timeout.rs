//! Whose limit holds for a transaction.

use std::time::Duration;

/// A limit of a transaction: txsafe's, or the server's.
///
/// A [`Duration`] is one of txsafe's, so that most calls never write this type down.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use txsafe::{Timeout, TxOptions};
///
/// let import = TxOptions::new()
///     .lock_timeout(Duration::from_millis(500))
///     .statement_timeout(Timeout::Server); // what the role, the database or the server has
/// # let _ = import;
/// ```
#[expect(clippy::exhaustive_enums, reason = "a limit is somebody's")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// At most this long; a shorter limit of the session holds. It is set for the transaction alone.
    AtMost(Duration),
    /// Nothing is set: what holds for the session holds for the transaction, which may be no limit at all.
    Server,
}

impl Timeout {
    /// What txsafe sets.
    pub(crate) fn ours(self) -> Option<Duration> {
        match self {
            Self::AtMost(timeout) => Some(timeout),
            Self::Server => None,
        }
    }
}

impl From<Duration> for Timeout {
    fn from(timeout: Duration) -> Self {
        Self::AtMost(timeout)
    }
}
