//! Idempotency keys: a row written in the transaction itself, the only proof of a COMMIT that survives everything.

/// The table that idempotency keys are kept in, to be put into the application's migrations.
///
/// It is one statement, which may run again and in many sessions at once: in a migration, in a transaction, or in each replica of
/// a service when that starts. It adds what a table of an earlier version lacks: the column of
/// [fingerprints](crate::WithKey::fingerprint), for which it waits until no transaction uses the table. Where nothing is lacking
/// it waits for nobody. It needs PL/pgSQL, which each database has unless that was dropped.
///
/// Rows are never read after their callers stopped retrying; delete old ones as often as you like:
/// `DELETE FROM txsafe_idempotency_keys WHERE committed_at < now() - interval '7 days'`.
pub const IDEMPOTENCY_KEYS_SQL: &str = include_str!("../../sql/idempotency_keys.sql");

/// The longest key, in bytes: a B-tree entry must stay far below a third of a page.
pub(crate) const LONGEST_KEY: usize = 512;

/// What became of a transaction with an idempotency key.
#[expect(clippy::exhaustive_enums, reason = "a key is new or it is not")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keyed<T> {
    /// The closure ran and committed now.
    Ran(T),
    /// An earlier call with this key committed; the closure didn't run.
    AlreadyCommitted,
}

impl<T> Keyed<T> {
    /// The closure's value, if it ran now.
    #[must_use]
    pub fn ran(self) -> Option<T> {
        match self {
            Self::Ran(value) => Some(value),
            Self::AlreadyCommitted => None,
        }
    }

    /// The value of a call that has no key.
    pub(crate) fn of_new(self) -> T {
        let Self::Ran(value) = self else { unreachable!("a call without a key claims none") };
        value
    }
}
