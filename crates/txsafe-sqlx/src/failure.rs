//! SQLx's errors as failures.

use sqlx::{
    Error as SqlxError,
    postgres::{PgDatabaseError, PgSeverity},
};
use std::error::Error as StdError;
use txsafe::{Failure, SqlState, driver::ErrorFields};

/// The failure behind one of SQLx's errors: what it is, in the words that reports and [`TxOptions`](crate::TxOptions) have.
///
/// # Examples
/// When attempts are used up the caller gets the error of its closure, which may be SQLx's:
/// ```
/// use txsafe_sqlx::{Cause, Phase, failure_of};
///
/// fn is_worth_another_request(error: &sqlx::Error) -> bool {
///     Cause::of(&failure_of(error), Phase::Body).is_transient()
/// }
///
/// assert!(!is_worth_another_request(&sqlx::Error::RowNotFound));
/// assert!(is_worth_another_request(&std::io::Error::other("connection reset by peer").into()));
/// ```
#[must_use]
pub fn failure_of(error: &SqlxError) -> Failure {
    match error {
        SqlxError::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
            Some(server) => of_server(server),
            None => Failure::local(error.to_string()),
        },
        SqlxError::Io(error) => Failure::lost(None, error.to_string()),
        // Everything else is about the query, its bind values or the rows: the transaction goes on.
        error => Failure::local(error.to_string()),
    }
}

/// The failure behind an error of a request of txsafe's own. There the server's refusal is the one answer that leaves the
/// connection in a known state: after any other error it may give the next request the answer to an earlier one.
pub(crate) fn of_request(error: &SqlxError) -> Failure {
    match error {
        SqlxError::Database(_) => failure_of(error),
        error => Failure::lost(None, error.to_string()),
    }
}

/// The failure behind an error in making a connection: there is none, whatever it was.
pub(crate) fn of_connecting(error: &SqlxError) -> Failure {
    let failure = failure_of(error);
    match (failure.sqlstate(), error) {
        (Some(code), _) => Failure::lost(Some(code), failure.message()),
        (None, SqlxError::Configuration(_) | SqlxError::Tls(_)) => failure,
        (None, _) => Failure::lost(None, format!("no connection: {}", failure.message())),
    }
}

/// SQLx's error somewhere behind an error of the caller's.
pub(crate) fn sqlx_behind<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e SqlxError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn of_server(error: &PgDatabaseError) -> Failure {
    let Some(code) = SqlState::new(error.code()) else {
        return Failure::local(error.message());
    };
    let is_fatal = matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic);
    Failure::of_response(code, is_fatal, error.routine(), error.message()).with_fields(
        ErrorFields {
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
            table: error.table().map(str::to_owned),
            column: error.column().map(str::to_owned),
            constraint: error.constraint().map(str::to_owned),
        },
    )
}
