//! A part of a transaction that can be rolled back by itself.

use crate::{failure::of_diesel, tx::Tx};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, TransactionManager};
use std::future::Future;
use txsafe::{AsyncFuncOnce, Error};

impl Tx<'_> {
    /// Runs `body` behind a savepoint: if it returns `Err`, what it did is undone and the transaction goes on.
    ///
    /// A savepoint isn't tried again by itself: after a serialization failure its snapshot would be the same. Return
    /// the error, and the whole transaction is.
    ///
    /// # Errors
    /// What `body` returned; or [`Error`], where the savepoint couldn't be set or released, as when `body` swallowed a
    /// failed statement.
    pub fn savepoint<'t, T, E, F>(
        &'t mut self,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 't
    where
        F: for<'c> AsyncFnOnce(Tx<'c>) -> Result<T, E>
            + for<'c> AsyncFuncOnce<Tx<'c>, Result<T, E>, Fut: Send>
            + Send
            + 't,
        T: Send + 't,
        E: From<Error> + Send + 't,
    {
        async move {
            let (conn, account) = self.parts();
            Manager::begin_transaction(conn).await.map_err(failed)?;
            let mark = account.hooks.mark();
            let result = body(Tx::new(conn, account)).await;
            let error = match result {
                Ok(value) => match release(conn).await {
                    Ok(()) => return Ok(value),
                    Err(error) => error.into(),
                },
                Err(error) => {
                    // If even this fails the transaction is aborted or lost, and its end will tell.
                    let _ = Manager::rollback_transaction(conn).await;
                    error
                }
            };
            account.hooks.savepoint_rolled_back(mark, &mut account.due);
            Err(error)
        }
    }
}

type Manager = AnsiTransactionManager;

/// Releases the savepoint, or rolls back to it where a failed statement was swallowed.
async fn release(conn: &mut AsyncPgConnection) -> Result<(), Error> {
    let Err(error) = Manager::commit_transaction(conn).await else { return Ok(()) };
    Err(failed(error))
}

fn failed(error: diesel::result::Error) -> Error {
    of_diesel(&error).into()
}
