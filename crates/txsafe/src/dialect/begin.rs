//! What a transaction begins with, in words that don't depend on the database.

use super::{isolation::Isolation, mark::Mark};
use std::{sync::Arc, time::Duration};

/// The settings of one attempt, as its begin sends them.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a dialect must see what is new")]
pub struct BeginSettings<'a> {
    /// `None` keeps the session's.
    pub isolation: Option<Isolation>,
    /// `None` keeps the session's.
    pub read_only: Option<bool>,
    /// Wait for a snapshot that needs no serialization checks.
    pub deferrable: bool,
    /// The longest that a statement waits for one lock; `None` keeps the session's, here and below.
    pub lock_timeout: Option<Duration>,
    /// The same at COMMIT: of its deferred triggers and constraints. It may be longer, because a COMMIT that fails costs a whole
    /// attempt.
    pub lock_timeout_at_commit: Option<Duration>,
    /// The longest that one statement runs.
    pub statement_timeout: Option<Duration>,
    /// The longest that the transaction sends nothing.
    pub idle_in_transaction_session_timeout: Option<Duration>,
    /// The longest that the transaction runs.
    pub transaction_timeout: Option<Duration>,
    /// The name under which the server shows the session.
    pub application_name: &'a str,
    /// What is appended to the message for the application's own settings, or nothing.
    pub local: &'a str,
    /// Nothing may be set, not even for the transaction: neither a limit, nor a name, nor what the transaction is known by.
    pub without_set: bool,
}

/// The first message of a transaction, and what its last one says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    sql: String,
    is_awaited: bool,
    mark: Option<Mark>,
    before_commit: Arc<str>,
}

impl Begin {
    /// A transaction that is begun by `sql`, in which `mark` is set, and before whose COMMIT the same message says
    /// `before_commit`. Without a mark, the database can't be asked whether the transaction is still this one.
    #[must_use]
    pub fn new(
        sql: String,
        mark: impl Into<Option<Mark>>,
        before_commit: impl Into<Arc<str>>,
    ) -> Self {
        Self { sql, is_awaited: true, mark: mark.into(), before_commit: before_commit.into() }
    }

    /// Sets whether its answer must be awaited before anything else is sent. The default is that it must.
    #[must_use]
    pub(crate) fn awaited(self, is_awaited: bool) -> Self {
        Self { is_awaited, ..self }
    }

    /// Whether its answer must be awaited before anything else is sent.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// The SQL, to be sent as one message.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// What to say in COMMIT's message, before COMMIT: settings that are not those of the attempt. It may be nothing.
    #[must_use]
    pub fn before_commit(&self) -> Arc<str> {
        Arc::clone(&self.before_commit)
    }

    /// By what the transaction is known again.
    pub(crate) fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Whether it must say nothing but what begins a transaction: an adapter adds no settings of its own.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.mark.is_none()
    }
}
