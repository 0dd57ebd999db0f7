//! SQLx's errors as failures.

use crate::{driver_error::DriverError, engine::Engine};
use sqlx::Error as SqlxError;
use std::error::Error as StdError;
use txsafe::Failure;

/// The failure behind an error of a request of txsafe's own. There the database's refusal is the one answer that leaves the
/// connection in a known state: after any other error it may give the next request the answer to an earlier one.
pub(crate) fn of_request<DB: Engine>(error: &SqlxError) -> Failure {
    match error {
        SqlxError::Database(_) => DB::failure_of(error),
        error => Failure::lost(None, error.to_string()),
    }
}

/// The failure behind an error in making a connection: there is none, whatever it was.
pub(crate) fn of_connecting<DB: Engine>(error: &SqlxError) -> Failure {
    let failure = DB::failure_of(error);
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
        if let Some(error) = error.downcast_ref::<DriverError>() {
            return Some(error);
        }
        next = error.source();
    }
    None
}
