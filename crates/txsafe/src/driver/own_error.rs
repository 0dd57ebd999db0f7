//! Which of the driver's own errors an error of txsafe becomes, for closures that return the driver's type.

use crate::{
    dialect::{condition::Condition, failure::Failure},
    error::{Error, ErrorKind},
};

/// Which kinds of errors the types of drivers can express.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must express each of these")]
pub enum OwnError<'e> {
    /// There is no row with a key that was to be locked.
    RowNotFound,
    /// No connection came free, or could be opened, in time.
    NoConnection(&'e Failure),
    /// The connection is gone.
    Lost(&'e Failure),
    /// The database rejected a statement or COMMIT with a code.
    Refused(&'e Failure),
    /// The driver's type has no such kind, so the caller must not see a code: nobody may repeat a transaction whose outcome is
    /// unknown because one of its failures was transient.
    Txsafe,
}

impl<'e> OwnError<'e> {
    /// The kind of `error`.
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

    /// The failure that the driver's error expresses, if it does.
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

/// The type `DriverError`: an adapter lists what its driver's type loses, and converts [`Error`] into it.
#[doc(hidden)]
#[macro_export]
macro_rules! __driver_error {
    ($(#[$lost:meta])* of $driver:literal: $error:ty) => {
        #[doc = concat!($driver, "'s own error as the error of a closure: for code whose functions return it.")]
        ///
        /// The closure ends with `Ok::<_, DriverError>(…)`. `?` converts what queries and savepoints return into a `DriverError`,
        /// and what the transaction returns into the driver's own type.
        ///
        /// What the driver returned stays as it was. The driver's error doesn't say what became of the transaction.
        /// **Ask [`error_behind`] before [`failure_of`](crate::failure_of)**, where the error comes from a transaction and not from
        /// a statement: if the outcome is unknown, the failure alone looks like one after which nothing was changed.
        ///
        /// What txsafe itself reports becomes:
        ///
        $(#[$lost])*
        #[derive(Debug)]
        pub struct DriverError($error);

        impl From<$error> for DriverError {
            fn from(error: $error) -> Self {
                Self(error)
            }
        }

        impl From<DriverError> for $error {
            fn from(error: DriverError) -> Self {
                error.0
            }
        }

        impl ::std::ops::Deref for DriverError {
            type Target = $error;

            fn deref(&self) -> &$error {
                &self.0
            }
        }

        impl ::std::fmt::Display for DriverError {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl ::std::error::Error for DriverError {
            fn source(&self) -> Option<&(dyn ::std::error::Error + 'static)> {
                self.0.source()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dialect::sqlstate::SqlState, retry::policy::GiveUp};
    use std::time::Duration;

    fn kind(kind: ErrorKind, failure: Option<&Failure>) -> &'static str {
        let error = Error::new(kind, failure.cloned(), None);
        let own = OwnError::of(&error);
        let has_failure = own.failure().is_some();
        let (kind, expresses) = match own {
            OwnError::RowNotFound => ("row not found", false),
            OwnError::NoConnection(_) => ("no connection", true),
            OwnError::Lost(_) => ("lost", true),
            OwnError::Refused(_) => ("refused", true),
            OwnError::Txsafe => ("txsafe", false),
        };
        assert_eq!(has_failure, expresses);
        kind
    }

    /// One of each failure, and what it is called if it is all that happened.
    fn failures() -> [(Failure, &'static str); 5] {
        let unique = SqlState::new("23505").unwrap();
        [
            (Failure::refused(unique, "duplicate key"), "refused"),
            // A server that ends the session says so with a code: the connection is gone all the same.
            (Failure::lost(SqlState::new("57P01"), "terminating connection"), "lost"),
            (Failure::lost(None, "connection reset by peer"), "lost"),
            (Failure::none_free(Duration::from_secs(1), "1 of 1 in use"), "no connection"),
            (Failure::local("no such column"), "txsafe"),
        ]
    }

    #[test]
    fn a_failure_is_the_drivers_where_it_is_all_that_happened() {
        for (failure, expected) in failures() {
            for of in [ErrorKind::Failed, ErrorKind::GaveUp(GiveUp::Attempts(3))] {
                assert_eq!(kind(of, Some(&failure)), expected, "{failure}");
            }
        }
        assert_eq!(kind(ErrorKind::Failed, None), "txsafe");
        let missing = || ErrorKind::RowNotFound { rank: "Order", key: "7".into() };
        assert_eq!(kind(missing(), None), "row not found");
    }

    #[test]
    fn a_failure_of_another_story_is_no_code_to_react_to() {
        let key = || "k".to_owned();
        for of in [
            ErrorKind::CommitUnknown { xid: Some(7) },
            ErrorKind::RolledBackAtCommit,
            ErrorKind::RanUnprotected,
            ErrorKind::EndedByClosure,
            ErrorKind::Unidentified,
            ErrorKind::DeadlineExceeded,
            ErrorKind::RollbackOnly,
            ErrorKind::IdempotencyKeyReused { key: key() },
            ErrorKind::IdempotencyKeyInProgress { key: key() },
        ] {
            for (failure, _) in failures() {
                assert_eq!(kind(of.clone(), Some(&failure)), "txsafe", "{of:?} by {failure}");
            }
            assert_eq!(kind(of.clone(), None), "txsafe", "{of:?}");
        }
    }
}
