//! What SQLite's result codes mean. Source: SQLite, "Result and Error Codes".

use crate::dialect::{
    condition::{Condition, Effect},
    error_code::ErrorCode,
    failure::Failure,
    violation::Violation,
};

/// The failure behind an extended result code.
#[must_use]
pub fn failure(code: i32, message: impl Into<String>) -> Failure {
    let message = message.into();
    let (condition, effect) = meaning(code, &message);
    Failure::of_code(ErrorCode::Vendor(code), condition, effect, message)
}

/// Whether the disk, or what is taken for one, failed.
#[must_use]
pub fn is_io_error(code: i32) -> bool {
    code & 0xff == 10
}

/// Which kind of constraint this extended code is about: UNIQUE and PRIMARYKEY, FOREIGNKEY, NOTNULL, CHECK.
pub(crate) fn violation(code: i32) -> Option<Violation> {
    match code {
        2067 | 1555 => Some(Violation::Unique),
        787 => Some(Violation::ForeignKey),
        1299 => Some(Violation::NotNull),
        275 => Some(Violation::Check),
        _ => None,
    }
}

/// The low eight bits are the primary code.
fn meaning(code: i32, message: &str) -> (Condition, Effect) {
    /// BUSY_SNAPSHOT: somebody has written since this transaction read.
    const BUSY_SNAPSHOT: i32 = 517;
    match code & 0xff {
        _ if code == BUSY_SNAPSHOT => (Condition::Serialization, Effect::StatementOnly),
        // BUSY and LOCKED.
        5 | 6 => (Condition::LockTimeout, Effect::StatementOnly),
        // NOMEM, IOERR, FULL: the transaction may have been rolled back with the statement.
        7 | 10 | 13 => (Condition::Other, Effect::TransactionEnded),
        8 => (Condition::ReadOnly, Effect::StatementOnly),
        9 => (Condition::Canceled, Effect::StatementOnly),
        19 => (Condition::ConstraintViolation, Effect::StatementOnly),
        1 => (of_error(message), Effect::StatementOnly),
        _ => (Condition::Other, Effect::StatementOnly),
    }
}

/// ERROR has no code of its own for these. The words are constants of SQLite's source, in one language.
fn of_error(message: &str) -> Condition {
    if message.starts_with("no such table") {
        Condition::UndefinedTable
    } else if message.contains("no transaction is active")
        || message.starts_with("no such savepoint")
    {
        Condition::NoTransaction
    } else if message.starts_with("cannot start a transaction within a transaction") {
        Condition::OpenTransaction
    } else {
        Condition::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_codes_mean_what_their_primary_ones_do() {
        for code in [5, 261, 6, 262] {
            assert_eq!(failure(code, "").condition(), Condition::LockTimeout, "{code}");
        }
        assert_eq!(failure(517, "").condition(), Condition::Serialization);
        for code in [1, 8 + 256, 19, 1555, 787, 13] {
            let busy = failure(code, "");
            assert!(!busy.is_lost() && busy.sqlstate().is_none(), "{code}");
        }
        for code in [19, 787, 1555, 2067] {
            assert_eq!(failure(code, "").condition(), Condition::ConstraintViolation, "{code}");
        }
        assert_eq!(failure(1555, "").to_string(), " (code 1555)");
    }

    #[test]
    fn what_has_no_code_is_told_by_its_words() {
        for (message, condition) in [
            ("no such table: txsafe_idempotency_keys", Condition::UndefinedTable),
            ("cannot commit - no transaction is active", Condition::NoTransaction),
            ("no such savepoint: txsafe", Condition::NoTransaction),
            ("near \"SELEC\": syntax error", Condition::Other),
        ] {
            assert_eq!(failure(1, message).condition(), condition, "{message}");
        }
    }
}
