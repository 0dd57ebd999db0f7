//! What a database presets of the settings of its transactions, and what a call changes.

use super::timeout::Timeout;
use crate::{
    dialect::{failure::Failure, isolation::Isolation, local::LocalSettings, sqlstate::SqlState},
    retry::policy::RetryPolicy,
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// Changes to the settings of a transaction, for one call or as a database's preset.
///
/// What isn't set here comes from the [`Builder`](crate::Builder) of the database, and from its defaults.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use txsafe::{Isolation, TxOptions};
///
/// let report = TxOptions::new()
///     .isolation(Isolation::Serializable)
///     .read_only(true)
///     .deferrable(true)
///     .statement_timeout(Duration::from_secs(60))
///     .timeout(Duration::from_secs(90));
/// # let _ = report;
/// ```
#[derive(Debug, Clone, Default)]
pub struct TxOptions {
    pub(crate) isolation: Option<Isolation>,
    pub(crate) read_only: Option<bool>,
    pub(crate) deferrable: Option<bool>,
    pub(crate) lock_timeout: Option<Timeout>,
    pub(crate) adaptive_lock_timeout: Option<bool>,
    pub(crate) statement_timeout: Option<Timeout>,
    pub(crate) idle_in_transaction_session_timeout: Option<Timeout>,
    pub(crate) transaction_timeout: Option<Timeout>,
    /// Set by a builder alone.
    pub(crate) without_set: bool,
    pub(crate) checkout_timeout: Option<Duration>,
    pub(crate) answer_timeout: Option<Duration>,
    pub(crate) commit_timeout: Option<Duration>,
    pub(crate) await_begin: Option<bool>,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) retry_on: Option<Vec<SqlState>>,
    pub(crate) abort_on: Option<Vec<SqlState>>,
    pub(crate) abort_if: Option<Predicate>,
    pub(crate) verify_commit: Option<bool>,
    pub(crate) slow_after: Option<Duration>,
    pub(crate) bind_values: Option<bool>,
    pub(crate) test_wrapper: Option<bool>,
    pub(crate) dry_run: Option<bool>,
    pub(crate) local: LocalSettings,
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
}

/// Which failures aren't to be retried on.
#[derive(Clone)]
pub(crate) struct Predicate(Arc<dyn Fn(&Failure) -> bool + Send + Sync>);

impl Predicate {
    pub(crate) fn new(predicate: impl Fn(&Failure) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(predicate))
    }

    pub(super) fn holds_for(&self, failure: &Failure) -> bool {
        (self.0)(failure)
    }
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate")
    }
}

/// The setters that [`TxOptions`] and the builder of a database share: one list, one documentation.
macro_rules! transaction_settings {
    ($($options:ident)?) => {
        /// The isolation level. Default: the server's (`default_transaction_isolation`).
        #[must_use]
        pub fn isolation(mut self, isolation: $crate::Isolation) -> Self {
            self $(.$options)? .isolation = Some(isolation);
            self
        }

        /// Whether writes are refused: `true` says READ ONLY to the server, and `false` READ WRITE, whatever is preset for the
        /// role or the database. Default: the server's (`default_transaction_read_only`).
        #[must_use]
        pub fn read_only(mut self, read_only: bool) -> Self {
            self $(.$options)? .read_only = Some(read_only);
            self
        }

        /// Whether a serializable, read-only transaction waits at its start for a snapshot that can't fail.
        /// Default: `false`.
        #[must_use]
        pub fn deferrable(mut self, deferrable: bool) -> Self {
            self $(.$options)? .deferrable = Some(deferrable);
            self
        }

        /// Sets a setting for the transaction, as `SET LOCAL` does: `set_local("app.tenant_id", "7")`, for policies of row-level
        /// security. It travels in BEGIN's own message, with each attempt. A call's value replaces the preset one of that
        /// name. PostgreSQL.
        #[must_use]
        pub fn set_local(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            self $(.$options)? .local.set(name.into(), value.into());
            self
        }

        /// The role that the transaction has, as by `SET LOCAL ROLE`. An idempotency key is written before, by the session's
        /// own role; what the closure does, [`outbox`](crate::Outbox) messages and sequences included, needs the role's
        /// rights. Default: the session's own. PostgreSQL.
        #[must_use]
        pub fn role(mut self, role: impl Into<String>) -> Self {
            self $(.$options)? .local.role = Some(role.into());
            self
        }

        /// The schemas in which the transaction looks up names without one. Keep the schema among them that has txsafe's own
        /// tables, if the closure writes messages or takes numbers; an idempotency key is written before. Default: the
        /// session's own. PostgreSQL.
        #[must_use]
        pub fn search_path<S: Into<String>>(
            mut self,
            schemas: impl IntoIterator<Item = S>,
        ) -> Self {
            self $(.$options)? .local.search_path =
                Some(schemas.into_iter().map(Into::into).collect());
            self
        }

        /// The longest that any attempt waits for one lock, in steps of 1 ms; the session's own
        /// `lock_timeout` if that is shorter. Whichever strikes asks for another attempt. With
        /// [`Timeout::Server`](crate::Timeout::Server) it is the session's own, if it has any: nothing is set, and early attempts
        /// wait no less. Default: 2 s.
        #[must_use]
        pub fn lock_timeout(mut self, timeout: impl Into<$crate::Timeout>) -> Self {
            self $(.$options)? .lock_timeout = Some(timeout.into());
            self
        }

        /// Whether early attempts wait for a lock only a little longer than this transaction has lately needed, and
        /// later ones up to `lock_timeout`. Deadlocks then cost milliseconds, not `deadlock_timeout`. While nothing
        /// collides, early attempts wait up to 16 times as long. Default: `true`.
        #[must_use]
        pub fn adaptive_lock_timeout(mut self, adaptive: bool) -> Self {
            self $(.$options)? .adaptive_lock_timeout = Some(adaptive);
            self
        }

        /// The longest that the server works on one statement, in steps of 1 ms; the session's own `statement_timeout` if that is
        /// shorter. With [`Timeout::Server`](crate::Timeout::Server) it is the session's own, if it has any, and a deadline
        /// of the caller doesn't shorten it: a blocking thread then waits for a statement for as long as that takes. Default:
        /// 30 s.
        #[must_use]
        pub fn statement_timeout(mut self, timeout: impl Into<$crate::Timeout>) -> Self {
            self $(.$options)? .statement_timeout = Some(timeout.into());
            self
        }

        /// The longest that the server waits for the next statement, in steps of 1 ms; the session's own if that is shorter, or
        /// with [`Timeout::Server`](crate::Timeout::Server), if it has any. Then the server ends the session, and the
        /// transaction fails without another attempt. Default: 30 s.
        #[must_use]
        pub fn idle_in_transaction_session_timeout(
            mut self,
            timeout: impl Into<$crate::Timeout>,
        ) -> Self {
            self $(.$options)? .idle_in_transaction_session_timeout = Some(timeout.into());
            self
        }

        /// The longest that the server lets one attempt last, in steps of 1 ms; the session's own if that is shorter.
        /// PostgreSQL 17 and later, and an error at the first transaction on an older one. Default:
        /// [`Timeout::Server`](crate::Timeout::Server), which sets nothing.
        #[must_use]
        pub fn transaction_timeout(mut self, timeout: impl Into<$crate::Timeout>) -> Self {
            self $(.$options)? .transaction_timeout = Some(timeout.into());
            self
        }

        /// The longest to wait for a connection of the pool. Default: 10 s.
        #[must_use]
        pub fn checkout_timeout(mut self, timeout: std::time::Duration) -> Self {
            self $(.$options)? .checkout_timeout = Some(timeout);
            self
        }

        /// The longest to wait for the answer to BEGIN, ROLLBACK or a question of txsafe's own from a server that may be
        /// gone without a word. Default: 10 s.
        #[must_use]
        pub fn answer_timeout(mut self, timeout: std::time::Duration) -> Self {
            self $(.$options)? .answer_timeout = Some(timeout);
            self
        }

        /// The longest to wait for the answer to COMMIT, within the caller's deadline. Deferred constraints and triggers
        /// run in COMMIT, for which the server's `statement_timeout` doesn't count, and with synchronous replication COMMIT
        /// waits for the standby. When the time is up the outcome is
        /// [`CommitUnknown`](crate::ErrorKind::CommitUnknown). The connection is closed then, and COMMIT isn't
        /// cancelled, because that could make visible what isn't replicated: it goes on if the server has got it. Blocking connections wait for as long as it takes.
        /// Default: 30 s, or txsafe's own `statement_timeout` if that is longer.
        #[must_use]
        pub fn commit_timeout(mut self, timeout: std::time::Duration) -> Self {
            self $(.$options)? .commit_timeout = Some(timeout);
            self
        }

        /// Whether the first statement always waits for the answer to BEGIN. Default: `false`: BEGIN travels ahead of it,
        /// which saves one round trip, and if one of its settings is refused the server refuses what follows. While most
        /// transactions of one name queue for a lock there is nothing to save, and the answer is waited for.
        ///
        /// What that default can't exclude: somebody cancels BEGIN itself (`pg_cancel_backend` in the microseconds
        /// before it runs). Then the statement behind it runs on its own, and the transaction fails with
        /// [`ErrorKind::RanUnprotected`](crate::ErrorKind::RanUnprotected).
        #[must_use]
        pub fn await_begin(mut self, wait: bool) -> Self {
            self $(.$options)? .await_begin = Some(wait);
            self
        }

        /// Bounds and pauses of the retries. Default: [`RetryPolicy::new`](crate::RetryPolicy::new).
        #[must_use]
        pub fn retry(mut self, policy: $crate::RetryPolicy) -> Self {
            self $(.$options)? .retry = Some(policy);
            self
        }

        /// Further SQLSTATEs to retry on, such as `23505` where a transaction looks a key up before it inserts it.
        /// Default: none.
        #[must_use]
        pub fn retry_on(mut self, codes: impl IntoIterator<Item = $crate::SqlState>) -> Self {
            self $(.$options)? .retry_on = Some(codes.into_iter().collect());
            self
        }

        /// SQLSTATEs that are never retried on, the opposite of [`retry_on`](Self::retry_on): such as `40P01` where a deadlock is
        /// a mistake in the program. A COMMIT whose answer was lost isn't meant. Default: none.
        #[must_use]
        pub fn abort_on(mut self, codes: impl IntoIterator<Item = $crate::SqlState>) -> Self {
            self $(.$options)? .abort_on = Some(codes.into_iter().collect());
            self
        }

        /// Failures that are never retried on: those for which `predicate` returns `true`. It isn't asked about a COMMIT
        /// whose answer was lost. Default: none.
        #[must_use]
        pub fn abort_if(
            mut self,
            predicate: impl Fn(&$crate::Failure) -> bool + Send + Sync + 'static,
        ) -> Self {
            let predicate = $crate::transaction::options::Predicate::new(predicate);
            self $(.$options)? .abort_if = Some(predicate);
            self
        }

        /// Whether the server is asked what became of a COMMIT whose answer was lost. It costs one round trip before
        /// each COMMIT, or two where the driver prepares the question each time (diesel-async). A transaction without an id
        /// stays unknown: foreign data wrappers and `NOTIFY` write without one. Default: `false`, and a lost answer is the
        /// error [`CommitUnknown`](crate::ErrorKind::CommitUnknown).
        #[must_use]
        pub fn verify_commit(mut self, verify: bool) -> Self {
            self $(.$options)? .verify_commit = Some(verify);
            self
        }

        /// Transactions that last longer than this are reported with their trail although they succeeded.
        /// Default: 1 s.
        #[must_use]
        pub fn slow_after(mut self, threshold: std::time::Duration) -> Self {
            self $(.$options)? .slow_after = Some(threshold);
            self
        }

        /// Whether the trail shows bind values, which may be personal data. Default: `false`. SQLx gives them out
        /// encoded, so there `true` is refused.
        #[must_use]
        pub fn bind_values(mut self, show: bool) -> Self {
            self $(.$options)? .bind_values = Some(show);
            self
        }
    };
}
pub(crate) use transaction_settings;

impl TxOptions {
    /// No changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    transaction_settings!();

    /// The longest that the whole call may take, pauses included, from the moment it is first polled. The attempt that
    /// runs when it expires is ended. Default: none.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whether this is the transaction that a test wraps around everything it does, to roll it back. The guard doesn't count
    /// it: only what runs in a savepoint of it counts as inside a transaction. Default: `false`.
    #[must_use]
    pub fn test_wrapper(mut self, wraps: bool) -> Self {
        self.test_wrapper = Some(wraps);
        self
    }

    /// Whether the transaction is rolled back where it would be committed: for a `--dry-run`, or to see what a change would do. On
    /// PostgreSQL deferred constraints are checked before. The caller gets what the closure returned, `after_rollback` hooks run,
    /// and an idempotency key isn't kept. A dry run can't find what only COMMIT finds: a serialization failure, or a deferred
    /// constraint on SQLite. Default: `false`.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = Some(dry_run);
        self
    }

    /// Like [`timeout`](Self::timeout), as a point in time: the deadline of the request being served. With both, the
    /// earlier one holds.
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_sql())
    }
}
