//! What a service makes of errors: those of the database have lost everything that could be looked at.

use txsafe::{Error, Outcome};

/// The error of an application that looks at nothing.
#[derive(Debug)]
pub enum AppError {
    /// Some driver said something.
    Opaque,
    /// The application's own.
    Own(&'static str),
    /// txsafe's.
    Txsafe(Error),
}

impl AppError {
    /// The error of the library.
    ///
    /// # Panics
    /// If it is another one.
    #[track_caller]
    #[must_use]
    pub fn ours(self) -> Error {
        match self {
            Self::Txsafe(error) => error,
            other => panic!("not an error of txsafe: {other:?}"),
        }
    }

    /// What the caller may conclude.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Txsafe(error) => error.outcome(),
            Self::Opaque | Self::Own(_) => Outcome::RolledBack,
        }
    }
}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        Self::Txsafe(error)
    }
}

impl From<diesel::result::Error> for AppError {
    fn from(_: diesel::result::Error) -> Self {
        Self::Opaque
    }
}

impl From<sqlx::Error> for AppError {
    fn from(_: sqlx::Error) -> Self {
        Self::Opaque
    }
}
