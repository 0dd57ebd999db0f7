//! What an adapter saw go wrong, in words that don't depend on the driver.

use super::{
    condition::{Condition, Effect},
    deadlock::Deadlock,
    error_code::ErrorCode,
    holders::Holders,
    postgres::{codes, messages},
    sqlstate::SqlState,
};
use std::{fmt, time::Duration};

/// A failure as its adapter saw it: on the wire, by instrumentation or as the driver's error.
///
/// # Examples
/// ```
/// use txsafe::{Cause, Condition, Failure, Phase, Remedy, SqlState};
///
/// let failure = Failure::refused(SqlState::DEADLOCK_DETECTED, "deadlock detected");
/// assert_eq!(failure.condition(), Condition::Deadlock);
/// assert_eq!(Cause::of(&failure, Phase::Body), Cause::Deadlock);
/// assert_eq!(Cause::Deadlock.remedy(), Remedy::Retry);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    condition: Condition,
    effect: Effect,
    code: Option<ErrorCode>,
    message: String,
    fields: Option<Box<ErrorFields>>,
    statement: Option<String>,
    took: Option<Duration>,
    cure: Option<&'static str>,
    deadlock: Option<Box<Deadlock>>,
    holders: Option<Box<Holders>>,
}

/// What the server says of an error besides its code and message.
/// Source: PostgreSQL manual, section 55.8, "Error and Notice Message Fields".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "adapters fill it in")]
pub struct ErrorFields {
    /// More of what is wrong: of a deadlock, which process waited for which.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The table that the error is about.
    pub table: Option<String>,
    /// Its column.
    pub column: Option<String>,
    /// The constraint that was violated.
    pub constraint: Option<String>,
}

impl Failure {
    /// The server answered with an error and the connection lives on.
    #[must_use]
    pub fn refused(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self::of_response(sqlstate, false, None, message)
    }

    /// The connection is gone; `sqlstate` is the last word of the server, if there was one.
    #[must_use]
    pub fn lost(sqlstate: Option<SqlState>, message: impl Into<String>) -> Self {
        let condition = sqlstate.map_or(Condition::ServerGone, codes::of_fatal);
        Self::new(condition, Effect::ConnectionLost, message).with_sqlstate(sqlstate)
    }

    /// The server ended the session, because its transaction sent nothing for too long.
    #[must_use]
    pub(crate) fn idled(message: impl Into<String>) -> Self {
        Self::lost(Some(SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT), message)
    }

    /// The server answered with an ErrorResponse: what it is follows from its code, from whether it ended the session,
    /// from the C function that raised it, and from what it says. One code may mean several things.
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
        let condition = codes::of_error(sqlstate, routine, &message);
        let cure = codes::cure_of(sqlstate);
        let failure = Self::new(condition, Effect::TransactionAborted, message);
        Self { cure, ..failure.with_sqlstate(Some(sqlstate)) }
    }

    /// The server answered with an error whose code the driver keeps to itself. The message tells what it is, and whether it
    /// ended the session, in the languages that PostgreSQL ships with; in any other one it is [`Condition::Other`].
    #[must_use]
    pub fn of_message(message: impl Into<String>) -> Self {
        let message = message.into();
        match messages::code_of(&message) {
            Some(code) => Self::of_response(code, codes::ends_session(code), None, message),
            None => {
                let condition = codes::of_internal_error(&message).unwrap_or(Condition::Other);
                Self::new(condition, Effect::TransactionAborted, message)
            }
        }
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

    /// All connections of the pool were in use for as long as one was waited for; `usage` says how many. The run loop adds what
    /// held them.
    #[must_use]
    pub(crate) fn none_free(waited: Duration, usage: impl fmt::Display) -> Self {
        let message = format!("no connection came free in {waited:.1?}: {usage}");
        Self::no_connection(message).with_holders(Holders::default())
    }

    /// The pool has fewer connections than it may have, and opened no further one for as long as it was waited for.
    #[must_use]
    pub(crate) fn none_opened(waited: Duration, size: usize, most: usize) -> Self {
        let message = format!(
            "no connection could be opened in {waited:.1?}: the pool has {size} of at most {most}"
        );
        Self::no_connection(message).with_cure(
            "check that the server is up and reachable from here (address, network, firewall), and that its \
             `max_connections` leaves room for this pool",
        )
    }

    /// The connection turned out to live: what looked like its end was an ERROR, which came from elsewhere.
    #[must_use]
    pub fn survived(self) -> Self {
        if !self.is_lost() {
            return self;
        }
        let condition = match self.sqlstate() {
            Some(code) => codes::of_error(code, None, &self.message),
            None => Condition::Other,
        };
        Self { condition, effect: Effect::TransactionAborted, ..self }
    }

    /// No connection came free, or could be opened, in time; nothing was started.
    #[must_use]
    pub fn no_connection(message: impl Into<String>) -> Self {
        Self::new(Condition::NoConnection, Effect::StatementOnly, message)
    }

    /// The connection that the caller lent is in a transaction that isn't ours; that one is as it was. Never retried.
    #[must_use]
    pub fn in_transaction() -> Self {
        let message = "the connection that was passed in is in a transaction already";
        Self::new(Condition::OpenTransaction, Effect::StatementOnly, message)
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
        Self::new(Condition::Other, Effect::StatementOnly, message)
    }

    /// A failure that a dialect has classified.
    #[must_use]
    pub fn of_code(
        code: ErrorCode,
        condition: Condition,
        effect: Effect,
        message: impl Into<String>,
    ) -> Self {
        Self { code: Some(code), ..Self::new(condition, effect, message) }
    }

    fn with_sqlstate(self, sqlstate: Option<SqlState>) -> Self {
        Self { code: sqlstate.map(ErrorCode::SqlState), ..self }
    }

    /// Adds what the server says besides its code and message.
    #[must_use]
    pub fn with_fields(mut self, fields: ErrorFields) -> Self {
        self.fields = (fields != ErrorFields::default()).then(|| Box::new(fields));
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

    /// Adds what held the connections of the pool.
    #[must_use]
    pub(crate) fn with_holders(mut self, holders: Holders) -> Self {
        self.holders = Some(Box::new(holders));
        self
    }

    /// What it is.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// What it did to its transaction.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// The code, in whatever form the database has it; `None` where there is none or the driver hides it.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.code
    }

    /// The SQLSTATE, where the server gave one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<SqlState> {
        match self.code? {
            ErrorCode::SqlState(code) => Some(code),
            ErrorCode::Vendor(_) => None,
        }
    }

    /// The message, in the language of the server or the driver.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The server's DETAIL: for a deadlock, who waited for whom.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.fields.as_ref()?.detail.as_deref()
    }

    /// The server's HINT.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.fields.as_ref()?.hint.as_deref()
    }

    /// The table that it is about, where the server says.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        self.fields.as_ref()?.table.as_deref()
    }

    /// The column that it is about, where the server says.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        self.fields.as_ref()?.column.as_deref()
    }

    /// The constraint that was violated.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.fields.as_ref()?.constraint.as_deref()
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
        self.effect == Effect::ConnectionLost
    }

    /// Of a deadlock: what this transaction held, and who the others were.
    #[must_use]
    pub fn deadlock(&self) -> Option<&Deadlock> {
        self.deadlock.as_deref()
    }

    /// Of a pool whose connections were all in use for as long as one was waited for: what held them, when the time was up.
    #[must_use]
    pub fn holders(&self) -> Option<&Holders> {
        self.holders.as_deref()
    }

    /// A failure of this kind.
    fn new(condition: Condition, effect: Effect, message: impl Into<String>) -> Self {
        Self {
            condition,
            effect,
            code: None,
            message: message.into(),
            fields: None,
            statement: None,
            took: None,
            cure: None,
            deadlock: None,
            holders: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(code) = self.code {
            write!(f, " ({code})")?;
        }
        if let Some(sql) = &self.statement {
            write!(f, " in `{sql}`")?;
        }
        if let Some(deadlock) = &self.deadlock {
            write!(f, "; {deadlock}")?;
        }
        if let Some(holders) = &self.holders {
            write!(f, "; {holders}")?;
        }
        if let Some(cure) = self.cure {
            write!(f, "; {cure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}
