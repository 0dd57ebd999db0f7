//! Why a connection of `tokio-postgres` couldn't be made. Diesel has no place for the SQLSTATE; it travels as the source
//! of an error that Diesel passes through.

use crate::failure;
use diesel::{ConnectionError, result::Error as DieselError};
use std::fmt;
use txsafe::{Failure, SqlState};

/// The failure behind an error in making a connection.
pub(crate) fn of_connecting(error: &ConnectionError) -> Failure {
    if let ConnectionError::CouldntSetupConfiguration(DieselError::QueryBuilderError(inner)) = error
        && let Some(refused) = inner.downcast_ref::<ConnectFailure>()
    {
        return Failure::lost(refused.sqlstate, refused.message.clone());
    }
    failure::of_connecting(error)
}

/// Why a connection of ours couldn't be made.
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
