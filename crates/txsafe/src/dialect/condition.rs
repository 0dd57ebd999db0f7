//! What a failure is, and what it did to its transaction, in words that no database has for itself.

/// What a failure is. The dialect of the database finds it, and everything else reads only this.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Transactions waited for each other's locks in a circle.
    Deadlock,
    /// The transaction can't be ordered among concurrent ones, or wrote what another one had written.
    Serialization,
    /// A lock was waited for, and not granted in time.
    LockTimeout,
    /// A lock wasn't free, and the statement wasn't to wait for it (`NOWAIT`).
    LockNotAvailable,
    /// On a standby, what the statement reads was changed by replication.
    RecoveryConflict,
    /// The server takes no more connections.
    TooManyConnections,
    /// The server, or the connection to it, is going or gone.
    ServerGone,
    /// The transaction may only read.
    ReadOnly,
    /// A prepared statement outlived the shape of its table.
    StalePlan,
    /// The server's session hasn't what the driver remembers of it.
    StaleSession,
    /// The statement took too long.
    StatementTimeout,
    /// Somebody asked the server to cancel the statement.
    Canceled,
    /// The transaction sent nothing for too long.
    IdleTimeout,
    /// The transaction lasted too long.
    TransactionTimeout,
    /// The server itself doesn't know what became of COMMIT.
    CommitUnknown,
    /// A constraint of the schema was violated.
    ConstraintViolation,
    /// A table doesn't exist.
    UndefinedTable,
    /// A setting, type or other thing doesn't exist.
    UndefinedObject,
    /// The connection is in a transaction already.
    OpenTransaction,
    /// The connection is in no transaction.
    NoTransaction,
    /// The transaction was aborted by an earlier failure.
    InFailedTransaction,
    /// No connection came free, or could be opened, in time; nothing was started.
    NoConnection,
    /// Anything else.
    Other,
}

/// What a failure did to its transaction.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing: the transaction goes on without the statement.
    StatementOnly,
    /// The server refuses everything but the end of the transaction.
    TransactionAborted,
    /// The database has rolled the transaction back, or may have, and what follows would be committed by itself.
    TransactionEnded,
    /// The connection is gone, and the transaction with it, unless COMMIT was on its way.
    ConnectionLost,
}
