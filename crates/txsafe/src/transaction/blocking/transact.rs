//! Work on blocking connections that begins a transaction of its own, or joins one that is open.

use super::database::BlockingDatabase;
use crate::{
    driver::{
        blocking::{BlockingDriver, OnThisThread},
        savepoint::{Joinable, Savepoints, savepoint_blocking},
    },
    error::Error,
    locks::relation::{LockOrder, Unlocked},
    transaction::configured::Configured,
};

/// What a helper takes that runs in a transaction of its own, or as part of one that is open: the blocking twin of
/// [`Transact`](crate::Transact).
pub trait BlockingTransact<D: BlockingDriver, O: LockOrder> {
    /// See [`Transact::transaction`](crate::Transact::transaction).
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    fn transaction<T, E, F>(self, name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
        E: From<Error>;
}

impl<D: OnThisThread, O: LockOrder> BlockingTransact<D, O> for &BlockingDatabase<D, O> {
    #[track_caller]
    fn transaction<T, E, F>(self, name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
        E: From<Error>,
    {
        BlockingDatabase::transaction(self, name, body)
    }
}

impl<D: OnThisThread, O: LockOrder> BlockingTransact<D, O>
    for Configured<'_, BlockingDatabase<D, O>>
{
    #[track_caller]
    fn transaction<T, E, F>(self, name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
        E: From<Error>,
    {
        Configured::<BlockingDatabase<D, O>>::transaction(self, name, body)
    }
}

impl<D, O, B> BlockingTransact<D, O> for &mut B
where
    D: BlockingDriver + Savepoints,
    O: LockOrder,
    B: Joinable<D, O>,
{
    fn transaction<T, E, F>(self, _name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
        E: From<Error>,
    {
        savepoint_blocking::<D, O, Unlocked, T, E, F>(&mut self.lend(), body)
    }
}
