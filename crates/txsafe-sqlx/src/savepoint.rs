//! A part of a transaction that can be rolled back by itself.

use crate::{
    failure::of_sqlx,
    observed::Observed,
    session::{Manager, settle},
    tx::Tx,
};
use sqlx_core::transaction::TransactionManager;
use std::{future::Future, sync::Arc};
use txsafe::{AsyncFuncOnce, Error, LockOrder, driver::savepoint};

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
            let Self { conn, account, observed, .. } = self;
            let calls = Arc::clone(observed.calls());
            settle(conn, observed).await;
            calls
                .waiting(Manager::begin(conn, None))
                .await
                .map_err(|error| failed(observed, &error))?;
            let mark = account.mark();
            let error = match savepoint(body(Tx::new(conn, account, observed))).await {
                Ok(value) => {
                    settle(conn, observed).await;
                    match observed.aborted_by() {
                        None => {
                            let released = calls.waiting(Manager::commit(conn)).await;
                            released.map_err(|error| failed(observed, &error))?;
                            return Ok(value);
                        }
                        Some(failure) => Error::swallowed(failure.clone()).into(),
                    }
                }
                Err(error) => {
                    settle(conn, observed).await;
                    error
                }
            };
            // If even this fails the transaction is aborted or lost, and its end will tell.
            match calls.waiting(Manager::rollback(conn)).await {
                Ok(()) => observed.recovered(),
                Err(error) => observed.saw(&error),
            }
            account.savepoint_rolled_back(mark);
            Err(error)
        }
    }
}

fn failed(observed: &mut Observed, error: &sqlx::Error) -> Error {
    observed.saw(error);
    of_sqlx(error).into()
}
