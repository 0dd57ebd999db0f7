//! Failure → cause → remedy: the one table that says what to do about what went wrong.

use crate::dialect::{
    failure::{Failure, Nature},
    sqlstate::SqlState,
};
use std::fmt;

/// What a failure asks for.
#[expect(clippy::exhaustive_enums, reason = "the four words are the vocabulary")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Roll back and tell the caller.
    Abort,
    /// Close the connection, then run the transaction again on a new one.
    Reconnect,
    /// Roll back, pause, run the transaction again.
    Retry,
    /// The answer to COMMIT was lost: find out before anything else.
    Verify,
}

impl Remedy {
    /// The word in lower case, as metrics and events carry it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Reconnect => "reconnect",
            Self::Retry => "retry",
            Self::Verify => "verify",
        }
    }
}

/// Where in an attempt a failure happened.
#[expect(clippy::exhaustive_enums, reason = "an attempt has these four parts")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Getting a connection: nothing has started.
    Checkout,
    /// BEGIN and its settings.
    Begin,
    /// The closure.
    Body,
    /// COMMIT was sent.
    Commit,
}

/// Why an attempt failed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// `40P01`.
    Deadlock,
    /// `40001`: could not serialize access.
    Serialization,
    /// `55P03`: a lock was not granted in time.
    LockTimeout,
    /// The connection, or the server behind it, is going or gone (class 08, `57P01`-`57P03`, I/O errors).
    ConnectionLost,
    /// `53300`.
    TooManyConnections,
    /// `25006`: the server has become read only, as after a failover.
    ReadOnlyServer,
    /// A prepared statement outlived the shape of its table.
    StalePlan,
    /// The server's session hasn't the prepared statements or types that the driver remembers (`26000`, `42P05`, "cache
    /// lookup failed for type").
    StaleSession,
    /// No connection came free in time.
    NoConnection,
    /// The answer to COMMIT was lost, or the server itself doesn't know (`40003`, `08007`).
    CommitInDoubt,
    /// `57014`: cancelled by `statement_timeout` or by request.
    StatementCanceled,
    /// `25P03` or `25P04`: the transaction idled or lasted too long.
    TransactionTimeout,
    /// A condition that the caller asked to retry on ([`TxOptions::retry_on`](crate::TxOptions::retry_on)).
    OptedIn,
    /// Anything else, and whatever can't be classified.
    Other,
}

impl Cause {
    /// Classifies a failure by its SQLSTATE, by where it happened, and by whether the connection is gone.
    ///
    /// Whatever is not known to be transient is [`Cause::Other`].
    /// Source: PostgreSQL manual, appendix A, "PostgreSQL Error Codes".
    #[must_use]
    pub fn of(failure: &Failure, phase: Phase) -> Self {
        if phase == Phase::Commit && leaves_commit_in_doubt(failure) {
            return Self::CommitInDoubt;
        }
        match failure.nature() {
            Nature::NoConnection => return Self::NoConnection,
            Nature::StalePlan => return Self::StalePlan,
            Nature::StaleSession => return Self::StaleSession,
            Nature::Local | Nature::InTransaction => return Self::Other,
            Nature::Refused | Nature::Lost => {}
        }
        match failure.sqlstate() {
            Some(SqlState::DEADLOCK_DETECTED) => Self::Deadlock,
            Some(SqlState::SERIALIZATION_FAILURE) => Self::Serialization,
            Some(SqlState::LOCK_NOT_AVAILABLE) => Self::LockTimeout,
            Some(SqlState::TOO_MANY_CONNECTIONS) => Self::TooManyConnections,
            Some(SqlState::READ_ONLY_SQL_TRANSACTION) => Self::ReadOnlyServer,
            Some(SqlState::QUERY_CANCELED) => Self::StatementCanceled,
            Some(SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT | SqlState::TRANSACTION_TIMEOUT) => {
                Self::TransactionTimeout
            }
            Some(
                SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW,
            ) => Self::ConnectionLost,
            Some(code) if code.class() == "08" => Self::ConnectionLost,
            Some(_) if failure.is_lost() && phase != Phase::Checkout => Self::ConnectionLost,
            None if failure.is_lost() => Self::ConnectionLost,
            // A FATAL at connect (28P01 wrong password, 3D000 no such database) comes back every time.
            Some(_) | None => Self::Other,
        }
    }

    /// The remedy for this cause.
    #[must_use]
    pub fn remedy(self) -> Remedy {
        match self {
            Self::Deadlock
            | Self::Serialization
            | Self::LockTimeout
            | Self::TooManyConnections
            | Self::NoConnection
            | Self::OptedIn => Remedy::Retry,
            Self::ConnectionLost | Self::ReadOnlyServer | Self::StalePlan | Self::StaleSession => {
                Remedy::Reconnect
            }
            Self::CommitInDoubt => Remedy::Verify,
            Self::StatementCanceled | Self::TransactionTimeout | Self::Other => Remedy::Abort,
        }
    }

    /// The word in lower case, as metrics and events carry it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::Serialization => "serialization",
            Self::LockTimeout => "lock_timeout",
            Self::ConnectionLost => "connection_lost",
            Self::TooManyConnections => "too_many_connections",
            Self::ReadOnlyServer => "read_only_server",
            Self::StalePlan => "stale_plan",
            Self::StaleSession => "stale_session",
            Self::NoConnection => "no_connection",
            Self::CommitInDoubt => "commit_in_doubt",
            Self::StatementCanceled => "statement_canceled",
            Self::TransactionTimeout => "transaction_timeout",
            Self::OptedIn => "opted_in",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A server that refuses COMMIT and stays has rolled back; one that vanishes may have done either.
fn leaves_commit_in_doubt(failure: &Failure) -> bool {
    match failure.sqlstate() {
        Some(SqlState::STATEMENT_COMPLETION_UNKNOWN | SqlState::TRANSACTION_RESOLUTION_UNKNOWN) => {
            true
        }
        // It fires only while the session waits for a command, so this COMMIT was never read.
        Some(SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT) => false,
        Some(_) | None => failure.is_lost(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> Failure {
        Failure::refused(SqlState::new(code).unwrap(), "")
    }

    #[test]
    fn every_row_of_the_remedy_table() {
        for (code, remedy) in [
            ("40001", Remedy::Retry),
            ("40P01", Remedy::Retry),
            ("55P03", Remedy::Retry),
            ("53300", Remedy::Retry),
            ("57P01", Remedy::Reconnect),
            ("57P02", Remedy::Reconnect),
            ("57P03", Remedy::Reconnect),
            ("08000", Remedy::Reconnect),
            ("08001", Remedy::Reconnect),
            ("08003", Remedy::Reconnect),
            ("08006", Remedy::Reconnect),
            ("25006", Remedy::Reconnect),
            ("57014", Remedy::Abort),
            ("25P03", Remedy::Abort),
            ("25P04", Remedy::Abort),
            ("53100", Remedy::Abort),
            ("53200", Remedy::Abort),
            ("23505", Remedy::Abort),
            ("0A000", Remedy::Abort),
        ] {
            assert_eq!(Cause::of(&refused(code), Phase::Body).remedy(), remedy, "{code}");
        }
        assert_eq!(Cause::of(&Failure::stale_plan(""), Phase::Body).remedy(), Remedy::Reconnect);
        for (code, message) in [
            ("26000", "prepared statement \"s1\" does not exist"),
            ("42P05", "prepared statement \"s1\" already exists"),
            ("XX000", "cache lookup failed for type 16613"),
        ] {
            let failure = Failure::of_response(SqlState::new(code).unwrap(), false, None, message);
            assert_eq!(Cause::of(&failure, Phase::Body), Cause::StaleSession, "{code}");
        }
    }

    #[test]
    fn only_a_lost_or_unknown_answer_to_commit_is_in_doubt() {
        let at_commit = |f: Failure| Cause::of(&f, Phase::Commit).remedy();
        assert_eq!(at_commit(refused("40001")), Remedy::Retry);
        assert_eq!(at_commit(refused("23503")), Remedy::Abort);
        assert_eq!(at_commit(refused("40003")), Remedy::Verify);
        assert_eq!(at_commit(refused("08007")), Remedy::Verify);
        assert_eq!(at_commit(Failure::lost(None, "")), Remedy::Verify);
        let shutdown = Failure::lost(Some(SqlState::ADMIN_SHUTDOWN), "");
        assert_eq!(at_commit(shutdown.clone()), Remedy::Verify);
        assert_eq!(Cause::of(&shutdown, Phase::Body).remedy(), Remedy::Reconnect);
    }

    #[test]
    fn a_server_that_will_never_let_us_in_is_not_asked_again() {
        let wrong_password = Failure::lost(SqlState::new("28P01"), "");
        assert_eq!(Cause::of(&wrong_password, Phase::Checkout).remedy(), Remedy::Abort);
        let refused = Failure::lost(None, "connection refused");
        assert_eq!(Cause::of(&refused, Phase::Checkout).remedy(), Remedy::Reconnect);
    }
}
