//! What an adapter saw go wrong, in words that don't depend on the driver.

use super::{deadlock::Deadlock, sqlstate::SqlState};
use std::{fmt, time::Duration};

/// A failure as its adapter saw it: on the wire, by instrumentation or as the driver's error.
///
/// # Examples
/// ```
/// use txsafe::{Cause, Failure, Phase, Remedy, SqlState};
///
/// let failure = Failure::refused(SqlState::DEADLOCK_DETECTED, "deadlock detected");
/// assert_eq!(Cause::of(&failure, Phase::Body), Cause::Deadlock);
/// assert_eq!(Cause::Deadlock.remedy(), Remedy::Retry);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    nature: Nature,
    sqlstate: Option<SqlState>,
    message: String,
    detail: Option<String>,
    statement: Option<String>,
    took: Option<Duration>,
    cure: Option<&'static str>,
    deadlock: Option<Box<Deadlock>>,
}

/// How a failure came about; what the server said is beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    /// The server answered with an error; the connection lives on.
    Refused,
    /// Like `Refused`, and the server says that a prepared statement outlived its table's shape.
    StalePlan,
    /// Like `Refused`, and the server's session hasn't what the driver remembers of it.
    StaleSession,
    /// The connection is gone.
    Lost,
    /// No connection came free in time; nothing was started.
    NoConnection,
    /// Neither the server nor the network: the driver or this library refused.
    Local,
    /// The caller's connection is in a transaction already; nothing was sent in it.
    InTransaction,
}

impl Failure {
    /// The server answered with an error and the connection lives on.
    #[must_use]
    pub fn refused(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self::new(Nature::Refused, Some(sqlstate), message)
    }

    /// The server refused a prepared statement because its plan no longer fits the table (`0A000`, "cached plan must
    /// not change result type").
    #[must_use]
    pub fn stale_plan(message: impl Into<String>) -> Self {
        Self::new(Nature::StalePlan, Some(SqlState::FEATURE_NOT_SUPPORTED), message)
    }

    /// The server's session hasn't what the driver remembers of it: prepared statements after `DEALLOCATE ALL` (`26000`,
    /// `42P05`), or a type that was dropped and made anew. A new connection has.
    #[must_use]
    pub fn stale_session(sqlstate: Option<SqlState>, message: impl Into<String>) -> Self {
        Self::new(Nature::StaleSession, sqlstate, message)
    }

    /// The connection is gone; `sqlstate` is the last word of the server, if there was one.
    #[must_use]
    pub fn lost(sqlstate: Option<SqlState>, message: impl Into<String>) -> Self {
        Self::new(Nature::Lost, sqlstate, message)
    }

    /// The server answered with an ErrorResponse: what it is follows from its code, from whether it ended the session,
    /// and from the C function that raised it, the one thing that tells a stale plan from other uses of `0A000`.
    #[must_use]
    pub fn of_response(
        sqlstate: SqlState,
        is_fatal: bool,
        routine: Option<&str>,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        if is_fatal {
            return Self::lost(Some(sqlstate), message);
        }
        match (sqlstate, routine) {
            (SqlState::FEATURE_NOT_SUPPORTED, Some("RevalidateCachedQuery")) => {
                Self::stale_plan(message)
            }
            (SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PREPARED_STATEMENT, _)
            | (SqlState::UNDEFINED_OBJECT, Some("lookup_type_cache")) => {
                Self::stale_session(Some(sqlstate), message)
            }
            _ if Self::is_about_a_lost_type(&message) => {
                Self::stale_session(Some(sqlstate), message)
            }
            _ => Self::refused(sqlstate, message),
        }
    }

    /// Whether the server says that it can't find a type by its number, as a driver sends it that has looked it up before it
    /// was made anew. Internal errors aren't translated, and their code (`XX000`) is that of all others.
    #[must_use]
    pub fn is_about_a_lost_type(message: &str) -> bool {
        message.starts_with("cache lookup failed for type ")
    }

    /// The server gave no answer to `request` for as long as one was waited for; the connection is taken for gone.
    #[must_use]
    pub fn no_answer(request: &str, waited: Duration) -> Self {
        Self::lost(None, format!("the server didn't answer {request} within {waited:?}"))
    }

    /// What came over the connection isn't the answer to what was asked; the connection is of no use any more.
    #[must_use]
    pub fn out_of_step() -> Self {
        let message = "the connection answered something else than what was asked, because an earlier exchange on it, \
                       such as a COPY, wasn't read to its end";
        Self::lost(None, message)
    }

    /// All connections of the pool were in use for as long as one was waited for; `usage` says of how many.
    #[must_use]
    pub fn none_free(waited: Duration, usage: impl fmt::Display) -> Self {
        Self::no_connection(format!(
            "no connection came free in {waited:.1?}: {usage}; make transactions shorter, don't take a second \
             connection inside one, or enlarge the pool",
        ))
    }

    /// No connection came free in time; nothing was started.
    #[must_use]
    pub fn no_connection(message: impl Into<String>) -> Self {
        Self::new(Nature::NoConnection, None, message)
    }

    /// The connection that the caller lent is in a transaction that isn't ours; that one is as it was. Never retried.
    #[must_use]
    pub fn in_transaction() -> Self {
        let message = "the connection that was passed in is in a transaction already";
        Self::new(Nature::InTransaction, None, message)
    }

    /// A connection of a pool is in a transaction that its last user left open. It is to be closed, and another one
    /// taken.
    #[must_use]
    pub fn left_open(sqlstate: Option<SqlState>) -> Self {
        let message = "the pool's connection was in a transaction that its last user left open, so it was closed";
        Self::lost(sqlstate, message)
    }

    /// The driver or an adapter refused before anything was sent. Never retried.
    #[must_use]
    pub fn local(message: impl Into<String>) -> Self {
        Self::new(Nature::Local, None, message)
    }

    /// Adds the server's DETAIL.
    #[must_use]
    pub fn with_detail(mut self, detail: Option<String>) -> Self {
        self.detail = detail;
        self
    }

    /// Adds the statement that failed, without bind values.
    #[must_use]
    pub fn with_statement(mut self, sql: Option<String>) -> Self {
        self.statement = sql;
        self
    }

    /// Adds how long the statement ran before it failed.
    #[must_use]
    pub fn with_took(mut self, took: Option<Duration>) -> Self {
        self.took = took;
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_cure(mut self, cure: &'static str) -> Self {
        self.cure = Some(cure);
        self
    }

    /// Says more than the server or the driver did.
    #[must_use]
    pub(crate) fn with_message(mut self, message: String) -> Self {
        self.message = message;
        self
    }

    /// Adds what is known of a deadlock.
    #[must_use]
    pub(crate) fn with_deadlock(mut self, deadlock: Deadlock) -> Self {
        self.deadlock = Some(Box::new(deadlock));
        self
    }

    /// The SQLSTATE, where the server gave one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.sqlstate
    }

    /// The message, in the language of the server or the driver.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The server's DETAIL: for a deadlock, who waited for whom.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The statement that failed, without bind values, where it is known.
    #[must_use]
    pub fn statement(&self) -> Option<&str> {
        self.statement.as_deref()
    }

    /// From the request to the server's refusal, where that was observed.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        self.took
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.nature == Nature::Lost
    }

    /// Of a deadlock: what this transaction held, and who the others were.
    #[must_use]
    pub fn deadlock(&self) -> Option<&Deadlock> {
        self.deadlock.as_deref()
    }

    pub(crate) fn nature(&self) -> Nature {
        self.nature
    }

    fn new(nature: Nature, sqlstate: Option<SqlState>, message: impl Into<String>) -> Self {
        Self {
            nature,
            sqlstate,
            message: message.into(),
            detail: None,
            statement: None,
            took: None,
            cure: None,
            deadlock: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(code) = self.sqlstate {
            write!(f, " (SQLSTATE {code})")?;
        }
        if let Some(sql) = &self.statement {
            write!(f, " in `{sql}`")?;
        }
        if let Some(deadlock) = &self.deadlock {
            write!(f, "; {deadlock}")?;
        }
        if let Some(cure) = self.cure {
            write!(f, "; {cure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
