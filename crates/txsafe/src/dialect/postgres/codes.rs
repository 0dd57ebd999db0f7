//! What PostgreSQL's SQLSTATEs mean.
//!
//! Source: PostgreSQL manual, appendix A, "PostgreSQL Error Codes"; names of functions: the sources of PostgreSQL 14 to 18.

use super::messages::condition_of;
use crate::dialect::{condition::Condition, sqlstate::SqlState, violation::Violation};

/// What an ERROR is: the session goes on, so nothing is said of the connection or the server. Class 08, `57P01` or `53300` came
/// from elsewhere, by way of a foreign data wrapper or `RAISE`.
///
/// `routine` is the function of the server that raised it, where the driver tells.
pub(crate) fn of_error(code: SqlState, routine: Option<&str>, message: &str) -> Condition {
    match code {
        SqlState::DEADLOCK_DETECTED | SqlState::SERIALIZATION_FAILURE => {
            let is_recovery_conflict = match routine {
                Some("ProcessInterrupts" | "CheckRecoveryConflictDeadlock") => true,
                Some(routine) => routine.starts_with("ProcessRecoveryConflict"),
                None => condition_of(message) == Some(Condition::RecoveryConflict),
            };
            if is_recovery_conflict {
                Condition::RecoveryConflict
            } else if code == SqlState::DEADLOCK_DETECTED {
                Condition::Deadlock
            } else {
                Condition::Serialization
            }
        }
        SqlState::LOCK_NOT_AVAILABLE => match (routine, condition_of(message)) {
            // The lock timer interrupts the session. NOWAIT fails in the function that requests the lock.
            (Some("ProcessInterrupts"), _) | (None, None) => Condition::LockTimeout,
            (Some(_), _) | (None, Some(_)) => Condition::LockNotAvailable,
        },
        SqlState::QUERY_CANCELED => condition_of(message).unwrap_or(Condition::Canceled),
        // `RAISE` and foreign servers raise this code, too.
        SqlState::READ_ONLY_SQL_TRANSACTION => match routine {
            Some("PreventCommandIfReadOnly" | "PreventCommandDuringRecovery") | None => {
                Condition::ReadOnly
            }
            Some(_) => Condition::Other,
        },
        SqlState::FEATURE_NOT_SUPPORTED => match routine {
            Some("RevalidateCachedQuery") => Condition::StalePlan,
            // On a standby, the check of `transaction_read_only` rejects READ WRITE; this function calls it.
            Some("call_bool_check_hook") => Condition::ReadOnly,
            Some(_) => Condition::Other,
            None => condition_of(message).unwrap_or(Condition::Other),
        },
        SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PREPARED_STATEMENT => {
            Condition::StaleSession
        }
        SqlState::UNDEFINED_OBJECT if routine == Some("lookup_type_cache") => {
            Condition::StaleSession
        }
        SqlState::UNDEFINED_OBJECT => Condition::UndefinedObject,
        SqlState::UNDEFINED_TABLE => Condition::UndefinedTable,
        SqlState::ACTIVE_SQL_TRANSACTION => Condition::OpenTransaction,
        SqlState::NO_ACTIVE_SQL_TRANSACTION => Condition::NoTransaction,
        SqlState::IN_FAILED_SQL_TRANSACTION => Condition::InFailedTransaction,
        SqlState::STATEMENT_COMPLETION_UNKNOWN => Condition::CommitUnknown,
        // 44000 is of WITH CHECK OPTION, and of a policy's WITH CHECK.
        code if code.class() == "23" || code.as_str() == "44000" => Condition::ConstraintViolation,
        _ => of_internal_error(message).unwrap_or(Condition::Other),
    }
}

/// Which kind of constraint this code is about.
pub(crate) fn violation(code: SqlState) -> Option<Violation> {
    match code.as_str() {
        "23505" => Some(Violation::Unique),
        "23503" => Some(Violation::ForeignKey),
        "23001" => Some(Violation::Restrict),
        "23502" => Some(Violation::NotNull),
        "23514" => Some(Violation::Check),
        "23P01" => Some(Violation::Exclusion),
        _ => None,
    }
}

/// What to do about an error that says too little.
pub(crate) fn cure_of(code: SqlState) -> Option<&'static str> {
    matches!(code, SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PREPARED_STATEMENT).then_some(
        "a pooler has put this connection before another session of the server: let it follow prepared statements \
         (PgBouncer 1.21 or later with max_prepared_statements), or the driver name none",
    )
}

/// Whether the server raises this code as a FATAL only, where its message is one of the catalogue's.
pub(crate) fn ends_session(code: SqlState) -> bool {
    match code {
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT | SqlState::TRANSACTION_TIMEOUT => true,
        code => code.class() == "57" && code != SqlState::QUERY_CANCELED,
    }
}

/// What a FATAL is, or the last word of a server before its connection was gone.
pub(crate) fn of_fatal(code: SqlState) -> Condition {
    match code {
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => Condition::IdleTimeout,
        SqlState::TRANSACTION_TIMEOUT => Condition::TransactionTimeout,
        SqlState::TOO_MANY_CONNECTIONS => Condition::TooManyConnections,
        SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW => {
            Condition::ServerGone
        }
        SqlState::STATEMENT_COMPLETION_UNKNOWN | SqlState::TRANSACTION_RESOLUTION_UNKNOWN => {
            Condition::CommitUnknown
        }
        code if code.class() == "08" => Condition::ServerGone,
        _ => Condition::Other,
    }
}

/// What an internal error is. They have one code (`XX000`), and aren't translated.
pub(crate) fn of_internal_error(message: &str) -> Option<Condition> {
    if message.starts_with("cache lookup failed for type ") {
        // A driver sends the number of a type that it has looked up before the type was made anew.
        return Some(Condition::StaleSession);
    }
    // Two sessions changed the same row of the server's own tables, as by `ALTER ROLE` or `GRANT`.
    let is_concurrent =
        matches!(message, "tuple concurrently updated" | "tuple concurrently deleted");
    is_concurrent.then_some(Condition::Serialization)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_code_means_what_its_routine_or_its_message_says() {
        let timeout = "canceling statement due to lock timeout";
        let nowait = "could not obtain lock on row in relation \"jobs\"";
        let conflict = "canceling statement due to conflict with recovery";
        for (code, routine, message, condition) in [
            ("55P03", Some("ProcessInterrupts"), "?", Condition::LockTimeout),
            ("55P03", Some("heap_lock_tuple"), "?", Condition::LockNotAvailable),
            ("55P03", None, timeout, Condition::LockTimeout),
            ("55P03", None, nowait, Condition::LockNotAvailable),
            ("55P03", None, "in an unknown language", Condition::LockTimeout),
            (
                "57014",
                Some("ProcessInterrupts"),
                "canceling statement due to statement timeout",
                Condition::StatementTimeout,
            ),
            (
                "57014",
                Some("ProcessInterrupts"),
                "canceling statement due to user request",
                Condition::Canceled,
            ),
            ("40P01", Some("DeadLockReport"), "deadlock detected", Condition::Deadlock),
            ("40001", Some("ProcessInterrupts"), conflict, Condition::RecoveryConflict),
            (
                "40001",
                Some("ProcessRecoveryConflictInterrupt"),
                conflict,
                Condition::RecoveryConflict,
            ),
            ("40001", None, conflict, Condition::RecoveryConflict),
            ("40P01", Some("CheckRecoveryConflictDeadlock"), conflict, Condition::RecoveryConflict),
            ("40001", Some("heap_update"), "could not serialize access", Condition::Serialization),
            ("25006", Some("PreventCommandIfReadOnly"), "", Condition::ReadOnly),
            ("25006", Some("exec_stmt_raise"), "", Condition::Other),
            ("25006", Some("PreventCommandDuringRecovery"), "", Condition::ReadOnly),
            ("0A000", Some("RevalidateCachedQuery"), "", Condition::StalePlan),
            ("0A000", None, "cached plan must not change result type", Condition::StalePlan),
            ("0A000", None, "FOR UPDATE is not allowed with DISTINCT clause", Condition::Other),
            ("0A000", Some("call_bool_check_hook"), "", Condition::ReadOnly),
            (
                "0A000",
                None,
                "cannot set transaction read-write mode during recovery",
                Condition::ReadOnly,
            ),
            ("0A000", Some("transformStmt"), "", Condition::Other),
            (
                "XX000",
                Some("simple_heap_update"),
                "tuple concurrently updated",
                Condition::Serialization,
            ),
            ("XX000", Some("elog"), "cache lookup failed for type 16613", Condition::StaleSession),
        ] {
            let code = SqlState::new(code).unwrap();
            assert_eq!(of_error(code, routine, message), condition, "{code} {routine:?} {message}");
        }
    }

    #[test]
    fn an_error_says_nothing_of_the_connection() {
        for code in [
            "08000", "08001", "08003", "08006", "08007", "08P01", "57P01", "57P02", "57P03",
            "53300",
        ] {
            let code = SqlState::new(code).unwrap();
            assert_eq!(of_error(code, None, ""), Condition::Other, "{code}");
            assert_ne!(of_fatal(code), Condition::Other, "{code}");
        }
    }
}
