//! What a transaction begins with, in words that don't depend on the database.

use super::isolation::Isolation;
use std::time::Duration;

/// What one attempt begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BeginSettings<'a> {
    pub(crate) isolation: Option<Isolation>,
    /// READ ONLY or READ WRITE, or what is preset.
    pub(crate) read_only: Option<bool>,
    pub(crate) deferrable: bool,
    /// Of this attempt.
    pub(crate) lock_timeout: Duration,
    /// Of COMMIT, which waits for what the attempt's patience wasn't learned from: deferred triggers, NOTIFY.
    pub(crate) lock_timeout_at_commit: Duration,
    /// Of this attempt.
    pub(crate) statement_timeout: Duration,
    pub(crate) idle_in_transaction_session_timeout: Duration,
    pub(crate) transaction_timeout: Option<Duration>,
    pub(crate) application_name: &'a str,
}
