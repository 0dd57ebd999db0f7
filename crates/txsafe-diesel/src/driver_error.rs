//! Diesel's own error as the error of a closure.

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};
use txsafe::{
    Condition, Error, Failure,
    driver::{OwnError, Violation, violation},
};

txsafe::__driver_error! {
    /// | txsafe's error | Diesel's | what is lost |
    /// |---|---|---|
    /// | the database rejected a statement or COMMIT: [`Failed`](txsafe::ErrorKind::Failed), [`GaveUp`](txsafe::ErrorKind::GaveUp) | `DatabaseError` of the kind that its code has, with the server's message, hint, table, column and constraint | the report; the code, where Diesel has no kind for it |
    /// | the connection is gone | `DatabaseError(ClosedConnection, …)` | the report |
    /// | no connection came free | `DatabaseError(UnableToSendCommand, …)`, with the text | the report |
    /// | there is no row with a key that was to be locked | `NotFound` | the rank and the key |
    /// | any other, such as an unknown outcome or a swallowed failure | `QueryBuilderError`, which holds txsafe's error: see [`error_behind`] | nothing |
    ///
    /// [`Builder::on_report`](txsafe::Builder::on_report) gets each report that is lost here. The `details` of a `DatabaseError` are
    /// the server's; where it gave none, they are txsafe's whole text.
    ///
    /// # Examples
    /// ```
    /// use diesel::prelude::*;
    /// use diesel_async::RunQueryDsl;
    /// use txsafe_diesel::{Database, DriverError, Tx};
    ///
    /// diesel::table! { accounts (id) { id -> Integer, balance -> BigInt } }
    ///
    /// async fn spend(tx: &mut Tx<'_>, amount: i64) -> QueryResult<i64> {
    ///     let spent = diesel::update(accounts::table.find(1)).set(accounts::balance.eq(accounts::balance - amount));
    ///     spent.returning(accounts::balance).get_result(tx).await
    /// }
    ///
    /// async fn pay(db: &Database, amount: i64) -> QueryResult<i64> {
    ///     let left = db.transaction("pay", async |mut tx| {
    ///         let left = spend(&mut tx, amount).await?;
    ///         Ok::<_, DriverError>(left)
    ///     });
    ///     Ok(left.await?)
    /// }
    /// // What the driver returned stays as it was.
    /// let error = diesel::result::Error::from(DriverError::from(diesel::result::Error::NotFound));
    /// assert!(matches!(error, diesel::result::Error::NotFound));
    /// ```
    of "Diesel": DieselError
}

/// txsafe's error, of which [`DriverError`] made this one, where Diesel's type can hold it. It has the
/// [`outcome`](Error::outcome) and the [`report`](Error::report).
///
/// `None` for an error of Diesel's own, and for a `DatabaseError` or `NotFound` that was made of txsafe's. txsafe makes those only
/// where the transaction was rolled back, or never began.
#[must_use]
pub fn error_behind(error: &DieselError) -> Option<&Error> {
    match error {
        DieselError::QueryBuilderError(error) => error.downcast_ref(),
        _ => None,
    }
}

impl From<Error> for DriverError {
    fn from(error: Error) -> Self {
        let (kind, failure) = match OwnError::of(&error) {
            OwnError::RowNotFound => return Self(DieselError::NotFound),
            OwnError::Txsafe => return Self(DieselError::QueryBuilderError(Box::new(error))),
            OwnError::NoConnection(failure) => (DatabaseErrorKind::UnableToSendCommand, failure),
            OwnError::Lost(failure) => (DatabaseErrorKind::ClosedConnection, failure),
            OwnError::Refused(failure) => (kind_of(failure), failure),
        };
        let information = Refusal { text: error.to_string(), failure: failure.clone() };
        Self(DieselError::DatabaseError(kind, Box::new(information)))
    }
}

/// Diesel's kind of what the database rejected.
fn kind_of(failure: &Failure) -> DatabaseErrorKind {
    match (violation(failure), failure.condition()) {
        (Some(Violation::Unique), _) => DatabaseErrorKind::UniqueViolation,
        (Some(Violation::ForeignKey), _) => DatabaseErrorKind::ForeignKeyViolation,
        (Some(Violation::Restrict), _) => DatabaseErrorKind::RestrictViolation,
        (Some(Violation::NotNull), _) => DatabaseErrorKind::NotNullViolation,
        (Some(Violation::Check), _) => DatabaseErrorKind::CheckViolation,
        (Some(Violation::Exclusion), _) => DatabaseErrorKind::ExclusionViolation,
        (_, Condition::Serialization) => DatabaseErrorKind::SerializationFailure,
        (_, Condition::ReadOnly) => DatabaseErrorKind::ReadOnlyTransaction,
        _ => DatabaseErrorKind::Unknown,
    }
}

/// The server's answer, and txsafe's text about it.
struct Refusal {
    failure: Failure,
    text: String,
}

impl DatabaseErrorInformation for Refusal {
    /// The server's: code that looks for words in it finds them, and so does [`failure_of`](crate::failure_of).
    fn message(&self) -> &str {
        self.failure.message()
    }

    fn details(&self) -> Option<&str> {
        Some(self.failure.detail().unwrap_or(&self.text))
    }

    fn hint(&self) -> Option<&str> {
        self.failure.hint()
    }

    fn table_name(&self) -> Option<&str> {
        self.failure.table()
    }

    fn column_name(&self) -> Option<&str> {
        self.failure.column()
    }

    fn constraint_name(&self) -> Option<&str> {
        self.failure.constraint()
    }

    fn statement_position(&self) -> Option<i32> {
        None
    }
}
