//! What to do about failures that are none of a statement's own making.

use super::settings::Settings;
use crate::{
    dialect::{failure::Failure, sqlstate::SqlState},
    retry::remedy::Phase,
};

/// Adds the cure, where one is known.
pub(crate) fn with_cure(failure: Failure, phase: Phase, settings: &Settings) -> Failure {
    match failure.sqlstate() {
        // A driver that hides the code still tells the parameter's name.
        Some(SqlState::UNDEFINED_OBJECT) | None
            if phase == Phase::Begin
                && settings.transaction_timeout.is_some()
                && failure.message().contains("transaction_timeout") =>
        {
            failure.with_cure("transaction_timeout needs PostgreSQL 17 or later")
        }
        Some(SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PREPARED_STATEMENT) => {
            failure.with_cure(
                "a pooler has put this connection before another session of the server: let it follow prepared \
                 statements (PgBouncer 1.21 or later with max_prepared_statements), or the driver name none",
            )
        }
        _ => failure,
    }
}
