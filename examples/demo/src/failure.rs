//! Why a request failed.

use std::{fmt, io};

use txsafe_diesel::Cause;

/// Why a request failed, as its caller sees it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A pool had no connection.
    Pool(String),
    /// A statement failed.
    Diesel(diesel::result::Error),
    /// txsafe gave up, or named a trap.
    Txsafe(txsafe_diesel::Error),
    /// The payment provider didn't answer.
    Provider(io::Error),
}

impl Failure {
    /// The class of the failure, as far as it is known.
    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            Self::Pool(_) | Self::Provider(_) => None,
            // Diesel hides the SQLSTATE; the English message is what is left.
            Self::Diesel(error) => match error.to_string().as_str() {
                "deadlock detected" => Some(Cause::Deadlock),
                "canceling statement due to lock timeout" => Some(Cause::LockTimeout),
                _ => None,
            },
            Self::Txsafe(error) => error.cause(),
        }
    }

    /// Whether locks collided: what this demo is about, as opposed to a server in trouble.
    pub(crate) fn is_collision(&self) -> bool {
        matches!(self.cause(), Some(Cause::Deadlock | Cause::LockTimeout))
    }

    /// Whether the caller was told that nobody knows.
    pub(crate) fn is_commit_unknown(&self) -> bool {
        matches!(self, Self::Txsafe(error) if error.is_commit_unknown())
    }
}

impl From<diesel::result::Error> for Failure {
    fn from(error: diesel::result::Error) -> Self {
        Self::Diesel(error)
    }
}

impl From<txsafe_diesel::Error> for Failure {
    fn from(error: txsafe_diesel::Error) -> Self {
        Self::Txsafe(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Provider(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(message) => f.write_str(message),
            Self::Diesel(error) => error.fmt(f),
            Self::Txsafe(error) => error.fmt(f),
            Self::Provider(error) => write!(f, "the payment provider doesn't answer: {error}"),
        }
    }
}
