//! A part of a transaction that can be rolled back by itself.

use crate::{failure::of_diesel, tx::Tx, wire::link::Link};
use diesel_async::{AnsiTransactionManager, TransactionManager};
use std::future::Future;
use txsafe::{
    AsyncFuncOnce, Error, Failure, LockOrder,
    driver::{Standing, savepoint},
};

impl<O: LockOrder, Held: 'static> Tx<'_, O, Held> {
    /// Runs `body` behind a savepoint: if it returns `Err`, what it did is undone and the transaction goes on.
    ///
    /// A savepoint isn't tried again by itself: after a serialization failure its snapshot would be the same. Return
    /// the error, and the whole transaction is.
    ///
    /// # Errors
    /// What `body` returned; or [`Error`], where the savepoint couldn't be set or released, as when `body` swallowed a
    /// failed statement.
    #[expect(clippy::manual_async_fn, reason = "says that the future is Send")]
    pub fn savepoint<'t, T, E, F>(
        &'t mut self,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 't
    where
        F: for<'c> AsyncFnOnce(Tx<'c, O, Held>) -> Result<T, E>
            + for<'c> AsyncFuncOnce<Tx<'c, O, Held>, Result<T, E>, Fut: Send>
            + Send
            + 't,
        T: Send + 't,
        E: From<Error> + Send + 't,
    {
        async move {
            let (conn, account, link) = self.parts();
            Manager::begin_transaction(conn).await.map_err(failed)?;
            let mark = account.mark();
            let error = match savepoint(body(Tx::new(conn, account, link))).await {
                Ok(value) => match swallowed(link).await {
                    None => {
                        Manager::commit_transaction(conn).await.map_err(failed)?;
                        return Ok(value);
                    }
                    Some(failure) => Error::swallowed(failure).into(),
                },
                Err(error) => error,
            };
            // If even this fails the transaction is aborted or lost, and its end will tell.
            let _ = Manager::rollback_transaction(conn).await;
            account.savepoint_rolled_back(mark);
            Err(error)
        }
    }
}

type Manager = AnsiTransactionManager;

/// The failure that a closure kept to itself, if there is one.
async fn swallowed(link: &Link) -> Option<Failure> {
    link.settled().await;
    match link.standing(true) {
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
