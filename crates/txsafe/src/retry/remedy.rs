//! Failure → cause → remedy: the one table that says what to do about what went wrong.

use crate::dialect::{condition::Condition, failure::Failure};
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
    /// `55P03`: a lock wasn't free, and its statement wasn't to wait for it (`NOWAIT`), or not for as long as the transaction
    /// would have: the caller has set a shorter `lock_timeout`.
    LockNotAvailable,
    /// `40001` or `40P01` on a standby: what the statement reads was changed by replication.
    RecoveryConflict,
    /// The connection, or the server behind it, is gone: a FATAL of the server, whatever its code, or an I/O error.
    ConnectionLost,
    /// `53300`.
    TooManyConnections,
    /// `25006`: the server has become read only, as after a failover. Another connection is tried once.
    ReadOnlyServer,
    /// A prepared statement outlived the shape of its table.
    StalePlan,
    /// The server's session hasn't the prepared statements or types that the driver remembers (`26000`, `42P05`, "cache
    /// lookup failed for type").
    StaleSession,
    /// No connection came free, or could be opened, in time.
    NoConnection,
    /// The answer to COMMIT was lost, or the server itself doesn't know (`40003`, or a FATAL `08007`).
    CommitInDoubt,
    /// `25P02` without a failure before it: what failed ran unseen, on a connection that was lent. It may be transient or not, so
    /// it is tried again twice. The run loop finds it; [`Cause::of`] doesn't know what was lent.
    FailedUnseen,
    /// `57014`: cancelled by `statement_timeout` or by request.
    StatementCanceled,
    /// `25P03` or `25P04`: the transaction idled or lasted too long.
    TransactionTimeout,
    /// A condition that the caller asked to retry on ([`TxOptions::retry_on`](crate::TxOptions::retry_on)).
    OptedIn,
    /// A failure that the caller asked not to retry on ([`TxOptions::abort_on`](crate::TxOptions::abort_on),
    /// [`abort_if`](crate::TxOptions::abort_if)).
    OptedOut,
    /// Anything else, and whatever can't be classified.
    Other,
}

impl Cause {
    /// Classifies a failure by what it is, by where it happened, and by whether the connection is gone.
    ///
    /// Whatever is not known to be transient is [`Cause::Other`].
    #[must_use]
    pub fn of(failure: &Failure, phase: Phase) -> Self {
        let condition = failure.condition();
        if phase == Phase::Commit && leaves_commit_in_doubt(failure) {
            return Self::CommitInDoubt;
        }
        if failure.is_lost() {
            return match condition {
                Condition::TooManyConnections => Self::TooManyConnections,
                Condition::IdleTimeout | Condition::TransactionTimeout => Self::TransactionTimeout,
                // A FATAL at connect (28P01 wrong password, 3D000 no such database) comes back every time.
                Condition::Other if phase == Phase::Checkout => Self::Other,
                _ => Self::ConnectionLost,
            };
        }
        match condition {
            Condition::Deadlock => Self::Deadlock,
            Condition::Serialization => Self::Serialization,
            Condition::LockTimeout => Self::LockTimeout,
            Condition::LockNotAvailable => Self::LockNotAvailable,
            Condition::RecoveryConflict => Self::RecoveryConflict,
            Condition::ReadOnly => Self::ReadOnlyServer,
            Condition::StalePlan => Self::StalePlan,
            Condition::StaleSession => Self::StaleSession,
            Condition::StatementTimeout | Condition::Canceled => Self::StatementCanceled,
            Condition::IdleTimeout | Condition::TransactionTimeout => Self::TransactionTimeout,
            Condition::NoConnection => Self::NoConnection,
            Condition::TooManyConnections
            | Condition::ServerGone
            | Condition::CommitUnknown
            | Condition::ConstraintViolation
            | Condition::UndefinedTable
            | Condition::UndefinedObject
            | Condition::OpenTransaction
            | Condition::NoTransaction
            | Condition::InFailedTransaction
            | Condition::Other => Self::Other,
        }
    }

    /// The remedy for this cause.
    #[must_use]
    pub fn remedy(self) -> Remedy {
        match self {
            Self::Deadlock
            | Self::Serialization
            | Self::LockTimeout
            | Self::RecoveryConflict
            | Self::TooManyConnections
            | Self::NoConnection
            | Self::FailedUnseen
            | Self::OptedIn => Remedy::Retry,
            Self::ConnectionLost | Self::ReadOnlyServer | Self::StalePlan | Self::StaleSession => {
                Remedy::Reconnect
            }
            Self::CommitInDoubt => Remedy::Verify,
            Self::LockNotAvailable
            | Self::StatementCanceled
            | Self::TransactionTimeout
            | Self::OptedOut
            | Self::Other => Remedy::Abort,
        }
    }

    /// Whether the same transaction may well succeed later. A lock that wasn't free may be, although nothing is retried for
    /// it at once. What failed unseen is retried, but isn't known to be transient.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::LockNotAvailable => true,
            Self::FailedUnseen => false,
            cause => matches!(cause.remedy(), Remedy::Retry | Remedy::Reconnect),
        }
    }

    /// The word in lower case, as metrics and events carry it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::Serialization => "serialization",
            Self::LockTimeout => "lock_timeout",
            Self::LockNotAvailable => "lock_not_available",
            Self::RecoveryConflict => "recovery_conflict",
            Self::ConnectionLost => "connection_lost",
            Self::TooManyConnections => "too_many_connections",
            Self::ReadOnlyServer => "read_only_server",
            Self::StalePlan => "stale_plan",
            Self::StaleSession => "stale_session",
            Self::NoConnection => "no_connection",
            Self::CommitInDoubt => "commit_in_doubt",
            Self::FailedUnseen => "failed_unseen",
            Self::StatementCanceled => "statement_canceled",
            Self::TransactionTimeout => "transaction_timeout",
            Self::OptedIn => "opted_in",
            Self::OptedOut => "opted_out",
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
    match failure.condition() {
        Condition::CommitUnknown => true,
        // It fires only while the session waits for a command, so this COMMIT was never read.
        Condition::IdleTimeout => false,
        _ => failure.is_lost(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqlState;

    fn refused(code: &str) -> Failure {
        Failure::refused(SqlState::new(code).unwrap(), "")
    }

    #[test]
    fn every_row_of_the_remedy_table() {
        for (code, remedy) in [
            ("40001", Remedy::Retry),
            ("40P01", Remedy::Retry),
            ("55P03", Remedy::Retry),
            ("25006", Remedy::Reconnect),
            ("57014", Remedy::Abort),
            // Those of a foreign server, or of `RAISE`: this session goes on.
            ("08001", Remedy::Abort),
            ("57P01", Remedy::Abort),
            ("53300", Remedy::Abort),
            ("53100", Remedy::Abort),
            ("53200", Remedy::Abort),
            ("23505", Remedy::Abort),
            ("0A000", Remedy::Abort),
        ] {
            assert_eq!(Cause::of(&refused(code), Phase::Body).remedy(), remedy, "{code}");
        }
        for (code, remedy) in [
            ("53300", Remedy::Retry),
            ("57P01", Remedy::Reconnect),
            ("57P02", Remedy::Reconnect),
            ("57P03", Remedy::Reconnect),
            ("08000", Remedy::Reconnect),
            ("08001", Remedy::Reconnect),
            ("08003", Remedy::Reconnect),
            ("08006", Remedy::Reconnect),
            ("40001", Remedy::Reconnect),
            ("25P03", Remedy::Abort),
            ("25P04", Remedy::Abort),
        ] {
            let fatal = Failure::lost(SqlState::new(code), "");
            assert_eq!(Cause::of(&fatal, Phase::Body).remedy(), remedy, "{code}");
        }
        let stale = Failure::of_message("cached plan must not change result type");
        assert_eq!(Cause::of(&stale, Phase::Body).remedy(), Remedy::Reconnect);
        let nowait = Failure::of_message("could not obtain lock on row in relation \"jobs\"");
        assert_eq!(Cause::of(&nowait, Phase::Body), Cause::LockNotAvailable);
        assert_eq!(Cause::LockNotAvailable.remedy(), Remedy::Abort);
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
    fn what_failed_unseen_is_tried_again_and_not_called_transient() {
        assert_eq!(Cause::FailedUnseen.remedy(), Remedy::Retry);
        assert!(!Cause::FailedUnseen.is_transient());
        assert_eq!(Cause::of(&refused("25P02"), Phase::Body), Cause::Other, "unless it was lent");
    }

    #[test]
    fn only_a_lost_or_unknown_answer_to_commit_is_in_doubt() {
        let at_commit = |f: Failure| Cause::of(&f, Phase::Commit).remedy();
        assert_eq!(at_commit(refused("40001")), Remedy::Retry);
        assert_eq!(at_commit(refused("23503")), Remedy::Abort);
        assert_eq!(at_commit(refused("40003")), Remedy::Verify);
        assert_eq!(at_commit(refused("08007")), Remedy::Abort, "a deferred trigger raised it");
        assert_eq!(at_commit(Failure::lost(SqlState::new("08007"), "")), Remedy::Verify);
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
