//! SQLx's own error as the error of a closure.

use sqlx::{
    Error as SqlxError,
    error::{DatabaseError, ErrorKind},
};
use std::{borrow::Cow, error::Error as StdError, fmt, io};
use txsafe::{
    Error, ErrorCode, Failure,
    driver::{OwnError, Violation, violation},
};

txsafe::__driver_error! {
    /// | txsafe's error | `sqlx::Error` | what is lost |
    /// |---|---|---|
    /// | the database rejected a statement or COMMIT: [`Failed`](txsafe::ErrorKind::Failed), [`GaveUp`](txsafe::ErrorKind::GaveUp) | `Database`, with the server's message, its code, kind, constraint and table | nothing |
    /// | the connection is gone | `Io`, of kind `ConnectionAborted` | nothing |
    /// | no connection came free | `PoolTimedOut` | the text and the report |
    /// | there is no row with a key that was to be locked | `RowNotFound` | the rank and the key |
    /// | any other, such as an unknown outcome or a swallowed failure | `Database` of kind `Other`, without a code | nothing |
    ///
    /// Where nothing is lost, [`error_behind`] returns txsafe's error again. [`Builder::on_report`](txsafe::Builder::on_report) gets
    /// each report that is lost here.
    ///
    /// # Examples
    /// ```
    /// use txsafe_sqlx::{Database, DriverError, Tx};
    ///
    /// async fn spend(tx: &mut Tx<'_>, amount: i64) -> sqlx::Result<i64> {
    ///     sqlx::query_scalar("UPDATE accounts SET balance = balance - $1 WHERE id = 1 RETURNING balance")
    ///         .bind(amount)
    ///         .fetch_one(tx)
    ///         .await
    /// }
    ///
    /// async fn pay(db: &Database, amount: i64) -> sqlx::Result<i64> {
    ///     let left = db.transaction("pay", async |mut tx| {
    ///         let left = spend(&mut tx, amount).await?;
    ///         Ok::<_, DriverError>(left)
    ///     });
    ///     Ok(left.await?)
    /// }
    /// // What the driver returned stays as it was.
    /// let error = sqlx::Error::from(DriverError::from(sqlx::Error::RowNotFound));
    /// assert!(matches!(error, sqlx::Error::RowNotFound));
    /// ```
    of "SQLx": SqlxError
}

/// txsafe's error, of which [`DriverError`] made this one. It has the [`outcome`](Error::outcome) and the
/// [`report`](Error::report).
///
/// `None` for an error of SQLx's own, and for a `PoolTimedOut` or `RowNotFound` that was made of txsafe's. txsafe makes those only
/// where the transaction was rolled back, or never began.
#[must_use]
pub fn error_behind(error: &SqlxError) -> Option<&Error> {
    match error {
        SqlxError::Database(error) => {
            error.try_downcast_ref::<OfTxsafe>().map(|OfTxsafe { error, .. }| error)
        }
        SqlxError::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// The failure behind an error that was made of txsafe's.
pub(crate) fn failure_behind(error: &SqlxError) -> Option<&Failure> {
    OwnError::of(error_behind(error)?).failure()
}

impl From<Error> for DriverError {
    fn from(error: Error) -> Self {
        Self(match OwnError::of(&error) {
            OwnError::RowNotFound => SqlxError::RowNotFound,
            OwnError::NoConnection(_) => SqlxError::PoolTimedOut,
            OwnError::Lost(_) => io::Error::new(io::ErrorKind::ConnectionAborted, error).into(),
            OwnError::Refused(_) | OwnError::Txsafe => {
                SqlxError::Database(Box::new(OfTxsafe { text: error.to_string(), error }))
            }
        })
    }
}

/// An error of txsafe as one of the database's.
struct OfTxsafe {
    error: Error,
    text: String,
}

impl OfTxsafe {
    fn refusal(&self) -> Option<&Failure> {
        match OwnError::of(&self.error) {
            OwnError::Refused(failure) => Some(failure),
            _ => None,
        }
    }
}

impl DatabaseError for OfTxsafe {
    /// The server's, where it rejected something: code that looks for words in it finds them.
    fn message(&self) -> &str {
        self.refusal().map_or(&self.text, Failure::message)
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(match self.refusal()?.code()? {
            ErrorCode::SqlState(code) => code.to_string().into(),
            ErrorCode::Vendor(code) => code.to_string().into(),
            _ => return None,
        })
    }

    fn constraint(&self) -> Option<&str> {
        self.refusal()?.constraint()
    }

    fn table(&self) -> Option<&str> {
        self.refusal()?.table()
    }

    fn kind(&self) -> ErrorKind {
        match self.refusal().and_then(violation) {
            Some(Violation::Unique) => ErrorKind::UniqueViolation,
            Some(Violation::ForeignKey) => ErrorKind::ForeignKeyViolation,
            Some(Violation::NotNull) => ErrorKind::NotNullViolation,
            Some(Violation::Check) => ErrorKind::CheckViolation,
            Some(Violation::Exclusion) => ErrorKind::ExclusionViolation,
            _ => ErrorKind::Other,
        }
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }
}

impl fmt::Debug for OfTxsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for OfTxsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for OfTxsafe {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}
