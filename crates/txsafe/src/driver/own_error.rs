//! How an error of txsafe is said by the driver's own error type, for closures that return that one.

use crate::{
    dialect::{condition::Condition, failure::Failure},
    error::{Error, ErrorKind},
};

/// What a driver's own error type has a word for.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must have a word for each of these")]
pub enum OwnError<'e> {
    /// There is no row with a key that was to be locked.
    RowNotFound,
    /// No connection came free in time.
    NoConnection(&'e Failure),
    /// The connection is gone.
    Lost(&'e Failure),
    /// The database refused, and said by which code.
    Refused(&'e Failure),
    /// The driver has no word for it. What the database said may be a part of the story, and isn't what the caller has to react
    /// to: a transaction whose outcome is unknown isn't to be repeated because of a code.
    Txsafe,
}

impl<'e> OwnError<'e> {
    /// What `error` is in the driver's words.
    #[must_use]
    pub fn of(error: &'e Error) -> Self {
        let failure = match (error.kind(), error.failure()) {
            (ErrorKind::RowNotFound { .. }, _) => return Self::RowNotFound,
            (ErrorKind::Failed | ErrorKind::GaveUp(_), Some(failure)) => failure,
            _ => return Self::Txsafe,
        };
        match failure.condition() {
            Condition::NoConnection => Self::NoConnection(failure),
            _ if failure.is_lost() => Self::Lost(failure),
            _ if failure.code().is_some() => Self::Refused(failure),
            _ => Self::Txsafe,
        }
    }

    /// The failure that it is about, unless the driver has no word for it.
    #[must_use]
    pub fn failure(self) -> Option<&'e Failure> {
        match self {
            Self::NoConnection(failure) | Self::Lost(failure) | Self::Refused(failure) => {
                Some(failure)
            }
            Self::RowNotFound | Self::Txsafe => None,
        }
    }
}
