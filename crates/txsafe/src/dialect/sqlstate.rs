//! SQLSTATE: the five characters by which a server says what went wrong, in every language.

use std::fmt;

/// An SQLSTATE code.
///
/// The constants are those that a decision of this crate depends on; any other code can be made with
/// [`SqlState::new`]. Source: PostgreSQL manual, appendix A, "PostgreSQL Error Codes".
///
/// # Examples
/// ```
/// use txsafe::SqlState;
///
/// let code = SqlState::new("40P01").expect("five ASCII letters or digits");
/// assert_eq!(code, SqlState::DEADLOCK_DETECTED);
/// assert_eq!(code.class(), "40");
/// assert_eq!(SqlState::new("deadlock"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// `08007`: the server lost the transaction while it was being resolved.
    pub const TRANSACTION_RESOLUTION_UNKNOWN: Self = Self(*b"08007");
    /// `0A000`: among others, a cached plan whose result type changed after DDL.
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");
    /// `23505`: a unique key exists already.
    pub const UNIQUE_VIOLATION: Self = Self(*b"23505");
    /// `23P01`: an exclusion constraint was violated.
    pub const EXCLUSION_VIOLATION: Self = Self(*b"23P01");
    /// `25001`: not possible inside a transaction that has run a query.
    pub const ACTIVE_SQL_TRANSACTION: Self = Self(*b"25001");
    /// `25006`: a write in a read-only transaction; on a standby every transaction is read only.
    pub const READ_ONLY_SQL_TRANSACTION: Self = Self(*b"25006");
    /// `25P01`: what was asked for needs a transaction, and none is open.
    pub const NO_ACTIVE_SQL_TRANSACTION: Self = Self(*b"25P01");
    /// `25P02`: the transaction is aborted; commands are ignored until its end.
    pub const IN_FAILED_SQL_TRANSACTION: Self = Self(*b"25P02");
    /// `25P03`: `idle_in_transaction_session_timeout` expired.
    pub const IDLE_IN_TRANSACTION_SESSION_TIMEOUT: Self = Self(*b"25P03");
    /// `25P04`: `transaction_timeout` expired (PostgreSQL 17 and later).
    pub const TRANSACTION_TIMEOUT: Self = Self(*b"25P04");
    /// `26000`: a prepared statement is not known in this session.
    pub const INVALID_SQL_STATEMENT_NAME: Self = Self(*b"26000");
    /// `40001`: could not serialize access.
    pub const SERIALIZATION_FAILURE: Self = Self(*b"40001");
    /// `40003`: the server doesn't know whether the statement completed.
    pub const STATEMENT_COMPLETION_UNKNOWN: Self = Self(*b"40003");
    /// `40P01`: deadlock detected.
    pub const DEADLOCK_DETECTED: Self = Self(*b"40P01");
    /// `42704`: a setting, type or other thing doesn't exist.
    pub const UNDEFINED_OBJECT: Self = Self(*b"42704");
    /// `42P01`: a table doesn't exist.
    pub const UNDEFINED_TABLE: Self = Self(*b"42P01");
    /// `42P05`: a prepared statement of this name exists in this session.
    pub const DUPLICATE_PREPARED_STATEMENT: Self = Self(*b"42P05");
    /// `53300`: too many connections.
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// `55P03`: `lock_timeout` expired, or `NOWAIT` found the lock taken.
    pub const LOCK_NOT_AVAILABLE: Self = Self(*b"55P03");
    /// `57014`: the statement was cancelled, by `statement_timeout` or by request.
    pub const QUERY_CANCELED: Self = Self(*b"57014");
    /// `57P01`: an administrator ended the session.
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// `57P02`: another server process crashed.
    pub const CRASH_SHUTDOWN: Self = Self(*b"57P02");
    /// `57P03`: the server is starting up or shutting down.
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");

    /// The code written as `code`; `None` unless it is five upper-case ASCII letters or digits.
    #[must_use]
    pub fn new(code: &str) -> Option<Self> {
        let bytes: [u8; 5] = code.as_bytes().try_into().ok()?;
        let well_formed = bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        well_formed.then_some(Self(bytes))
    }

    /// The five characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("?????")
    }

    /// The first two characters: the class of the condition.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.as_str()[..2]
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlState({self})")
    }
}
