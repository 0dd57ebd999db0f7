//! The table of the outbox.

/// The table that messages of the outbox are kept in, to be put into the application's migrations.
///
/// It is one statement, which may run again and in many sessions at once, as [`IDEMPOTENCY_KEYS_SQL`](crate::IDEMPOTENCY_KEYS_SQL).
///
/// A message that was delivered is deleted, unless its key was written again meanwhile; one that was given up stays, until it is requeued or deleted by hand.
pub const OUTBOX_SQL: &str = include_str!("../../sql/outbox.sql");
