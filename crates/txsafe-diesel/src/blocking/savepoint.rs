//! A part of a transaction that can be rolled back by itself.

use super::{link::Link, session::Manager, tx::Tx};
use crate::failure::of_diesel;
use diesel::{PgConnection, connection::TransactionManager};
use txsafe::{
    Error, Failure, LockOrder,
    driver::{Standing, savepoint_blocking},
};

impl<O: LockOrder, Held> Tx<'_, O, Held> {
    /// Runs `body` behind a savepoint: if it returns `Err`, what it did is undone and the transaction goes on.
    ///
    /// A savepoint isn't tried again by itself: after a serialization failure its snapshot would be the same. Return
    /// the error, and the whole transaction is.
    ///
    /// # Errors
    /// What `body` returned; or [`Error`], where the savepoint couldn't be set or released, as when `body` swallowed a
    /// failed statement.
    pub fn savepoint<T, E, F>(&mut self, body: F) -> Result<T, E>
    where
        F: for<'c> FnOnce(Tx<'c, O, Held>) -> Result<T, E>,
        E: From<Error>,
    {
        let (conn, account, link) = self.parts();
        Manager::begin_transaction(conn).map_err(failed)?;
        let mark = account.mark();
        let error = match savepoint_blocking(|| body(Tx::new(conn, account, link))) {
            Ok(value) => match swallowed(link, conn) {
                None => {
                    Manager::commit_transaction(conn).map_err(failed)?;
                    return Ok(value);
                }
                Some(failure) => Error::swallowed(failure).into(),
            },
            Err(error) => error,
        };
        // If even this fails the transaction is aborted or lost, and its end will tell.
        let _ = Manager::rollback_transaction(conn);
        account.savepoint_rolled_back(mark);
        Err(error)
    }
}

/// The failure that a closure kept to itself, if there is one.
fn swallowed(link: &Link, conn: &mut PgConnection) -> Option<Failure> {
    match link.standing(Manager::transaction_manager_status_mut(conn)) {
        Standing::Aborted(failure) | Standing::NotBegun(failure) => Some(failure),
        Standing::Open(_)
        | Standing::InFlight(_)
        | Standing::Lost(_)
        | Standing::Unprotected(_)
        | Standing::OutOfStep(_)
        | Standing::Unidentified(_)
        | Standing::Ended
        | Standing::SavepointOpen => None,
    }
}

fn failed(error: diesel::result::Error) -> Error {
    of_diesel(&error).into()
}
