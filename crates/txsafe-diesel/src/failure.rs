//! Diesel's errors as failures: the one place that knows what Diesel hides.
//!
//! The wire tells more and is asked first. What is here serves connections that were built elsewhere, and failures
//! that never reached the wire.

use crate::messages::code_of;
use diesel::{
    ConnectionError,
    result::{DatabaseErrorKind, Error as DieselError},
};
use std::fmt;
use txsafe::{Failure, SqlState};

/// The failure behind one of Diesel's errors, as far as Diesel tells.
pub(crate) fn of_diesel(error: &DieselError) -> Failure {
    match error {
        DieselError::DatabaseError(kind, information) => of_database(kind, information.message())
            .with_detail(information.details().map(str::to_owned)),
        DieselError::BrokenTransactionManager => Failure::lost(None, error.to_string()),
        error => Failure::local(error.to_string()),
    }
}

/// The failure behind an error in making a connection.
pub(crate) fn of_connecting(error: &ConnectionError) -> Failure {
    if let ConnectionError::CouldntSetupConfiguration(inner) = error {
        if let DieselError::QueryBuilderError(inner) = inner
            && let Some(refused) = inner.downcast_ref::<ConnectFailure>()
        {
            return Failure::lost(refused.sqlstate, refused.message.clone());
        }
        return of_diesel(inner);
    }
    Failure::lost(None, error.to_string())
}

/// Why a connection of ours couldn't be made. Diesel has no place for the SQLSTATE; it travels as the source of an
/// error that Diesel passes through.
#[derive(Debug)]
pub(crate) struct ConnectFailure {
    sqlstate: Option<SqlState>,
    message: String,
}

impl ConnectFailure {
    pub(crate) fn into_diesel(error: &tokio_postgres::Error) -> ConnectionError {
        let sqlstate = error.code().and_then(|code| SqlState::new(code.code()));
        let message = match error.as_db_error() {
            Some(server) => server.message().to_owned(),
            None => with_sources(error),
        };
        let failure = Self { sqlstate, message };
        ConnectionError::CouldntSetupConfiguration(DieselError::QueryBuilderError(failure.into()))
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConnectFailure {}

fn of_database(kind: &DatabaseErrorKind, message: &str) -> Failure {
    let code = match kind {
        DatabaseErrorKind::UniqueViolation => Some(SqlState::UNIQUE_VIOLATION),
        DatabaseErrorKind::ExclusionViolation => Some(SqlState::EXCLUSION_VIOLATION),
        DatabaseErrorKind::SerializationFailure => Some(SqlState::SERIALIZATION_FAILURE),
        DatabaseErrorKind::ReadOnlyTransaction => Some(SqlState::READ_ONLY_SQL_TRANSACTION),
        DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
            return Failure::lost(None, message);
        }
        DatabaseErrorKind::Unknown => code_of(message),
        _ => None,
    };
    match code {
        // Such a message closes the session.
        Some(code) if code.class() == "57" && code != SqlState::QUERY_CANCELED => {
            Failure::lost(Some(code), message)
        }
        Some(
            code @ (SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT | SqlState::TRANSACTION_TIMEOUT),
        ) => Failure::lost(Some(code), message),
        Some(SqlState::FEATURE_NOT_SUPPORTED) => Failure::stale_plan(message),
        Some(code) => Failure::refused(code, message),
        None => Failure::local(message),
    }
}

/// `tokio-postgres` says "error connecting to server" and keeps the reason to itself.
fn with_sources(error: &tokio_postgres::Error) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let text = error.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = error.source();
    }
    message
}
