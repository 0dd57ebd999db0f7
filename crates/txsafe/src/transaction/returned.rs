//! What the caller's closure returned, kept outside the run loop: so the loop is compiled once, and not for each closure.

use super::keyed::Keyed;
use crate::{driver::session::CallersError, error::Error};

/// Why a transaction has no value for its caller.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "an error is the caller's or ours")]
pub enum RunError {
    /// The closure's own error.
    Callers,
    /// This error, which the caller's type is made of.
    Ours(Error),
}

impl From<Error> for RunError {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// What the closure returned when it ran last: of a COMMIT in doubt, too, because no attempt runs after one that may have
/// committed.
pub(crate) struct Returned<T, E>(Option<Result<T, E>>);

impl<T, E> Returned<T, E> {
    pub(crate) fn nothing() -> Self {
        Self(None)
    }

    /// Forgets what an attempt before returned.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    pub(crate) fn keep(&mut self, result: Result<T, E>) -> Result<(), CallersError> {
        self.0.insert(result).as_ref().map(|_| ()).map_err(|_| CallersError)
    }
}

impl<T, E: From<Error>> Returned<T, E> {
    /// What the caller gets of a transaction that ended so.
    pub(crate) fn of(self, ended: Result<Keyed<()>, RunError>) -> Result<Keyed<T>, E> {
        match (ended, self.0) {
            (Err(RunError::Ours(error)), _) => Err(error.into()),
            (Ok(Keyed::AlreadyCommitted), _) => Ok(Keyed::AlreadyCommitted),
            (Ok(Keyed::Ran(())) | Err(RunError::Callers), Some(result)) => result.map(Keyed::Ran),
            (Ok(Keyed::Ran(())) | Err(RunError::Callers), None) => {
                unreachable!("the closure returned before the transaction ended")
            }
        }
    }
}
