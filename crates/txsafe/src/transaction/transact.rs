//! Work that begins a transaction of its own, or joins one that is open.

use super::{configured::Configured, database::Database};
use crate::{
    driver::{
        asynchronous::AsyncDriver,
        closure::AsyncFuncMut,
        savepoint::{Joinable, Savepoints, savepoint},
    },
    error::Error,
    locks::relation::{LockOrder, Unlocked},
};
use futures_util::future::BoxFuture;

/// What a helper takes that runs in a transaction of its own, or as part of one that is open.
///
/// With a [`&Database`](Database), or one with options, [`transaction`](Self::transaction) is [`Database::transaction`]: it begins,
/// tries again and commits. With a `&mut Tx`, or a `&mut` [`OwnedTx`](crate::OwnedTx), it runs the closure behind a savepoint: once, and what
/// it did is committed with the whole. A failure that asks for another attempt is returned then, and the whole transaction is
/// tried again.
///
/// Adapters have a trait of the same name for their driver, which helpers write as `impl Transact`.
pub trait Transact<D: AsyncDriver, O: LockOrder>: Send {
    // Boxed, because the compiler doesn't see that a future is `Send` whose type depends on a lifetime in `Self`.
    /// Runs `body` in a transaction of this name, or behind a savepoint of the one that is open, which keeps its own name.
    ///
    /// # Errors
    /// As for [`Database::transaction`]; behind a savepoint, the closure's own, or an [`Error`] where the savepoint couldn't be
    /// set or released.
    #[track_caller]
    fn transaction<'a, T, E, F>(self, name: &'a str, body: F) -> BoxFuture<'a, Result<T, E>>
    where
        Self: 'a,
        F: for<'c> AsyncFnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>
            + for<'c> AsyncFuncMut<D::Tx<'c, O, Unlocked>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a;
}

impl<D: AsyncDriver, O: LockOrder> Transact<D, O> for &Database<D, O> {
    #[track_caller]
    fn transaction<'a, T, E, F>(self, name: &'a str, body: F) -> BoxFuture<'a, Result<T, E>>
    where
        Self: 'a,
        F: for<'c> AsyncFnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>
            + for<'c> AsyncFuncMut<D::Tx<'c, O, Unlocked>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
    {
        Box::pin(Database::transaction(self, name, body))
    }
}

impl<D: AsyncDriver, O: LockOrder> Transact<D, O> for Configured<'_, Database<D, O>> {
    #[track_caller]
    fn transaction<'a, T, E, F>(self, name: &'a str, body: F) -> BoxFuture<'a, Result<T, E>>
    where
        Self: 'a,
        F: for<'c> AsyncFnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>
            + for<'c> AsyncFuncMut<D::Tx<'c, O, Unlocked>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
    {
        Box::pin(Configured::<Database<D, O>>::transaction(self, name, body))
    }
}

impl<D, O, B> Transact<D, O> for &mut B
where
    D: AsyncDriver + Savepoints,
    O: LockOrder,
    B: Joinable<D, O>,
{
    fn transaction<'a, T, E, F>(self, _name: &'a str, body: F) -> BoxFuture<'a, Result<T, E>>
    where
        Self: 'a,
        F: for<'c> AsyncFnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>
            + for<'c> AsyncFuncMut<D::Tx<'c, O, Unlocked>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
    {
        let mut tx = self.lend();
        Box::pin(async move { savepoint::<D, O, Unlocked, T, E, F>(&mut tx, body).await })
    }
}
