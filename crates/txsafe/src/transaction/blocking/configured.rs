//! The options of one call of a blocking transaction.

use super::{
    attempts::{BlockingAttempts, BlockingKeyedAttempts},
    database::BlockingDatabase,
    owned_tx::BlockingOwnedTx,
    work::{again, keyed, unkeyed},
};
use crate::{
    driver::blocking::{BlockingDriver, BlockingHeld, OnThisThread},
    error::Error,
    locks::{
        lock::ready,
        lock_set::{Holding, LockSet},
        relation::{LockOrder, Unlocked},
    },
    transaction::{
        configured::{Configured, WithKey},
        keyed::Keyed,
    },
};
use std::panic::Location;

impl<'d, D: BlockingDriver, O: LockOrder> Configured<'d, BlockingDatabase<D, O>> {
    /// See [`BlockingDatabase::transaction_on`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction_on<'a, C, T, E, F>(
        self,
        conn: &'a mut C,
        name: &str,
        body: F,
    ) -> Result<T, E>
    where
        &'a mut C: Into<D::Held<'a>>,
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
        E: From<Error>,
        'd: 'a,
    {
        let call = self.call(name, Location::caller())?.on_held();
        let held: D::Held<'a> = conn.into();
        let call = if held.is_replaceable(&self.db.pool) { call } else { call.borrowed() };
        unkeyed(call, self.db, Some(held), body)
    }
}

impl<'d, D: OnThisThread, O: LockOrder> Configured<'d, BlockingDatabase<D, O>> {
    /// See [`BlockingDatabase::transaction`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction<T, E, F>(self, name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
        E: From<Error>,
    {
        let call = self.call(name, Location::caller())?;
        unkeyed(call, self.db, None, body)
    }

    /// See [`BlockingDatabase::transaction_locking`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction_locking<S, T, E, F>(self, name: &str, set: S, mut body: F) -> Result<T, E>
    where
        S: LockSet<D, O, Unlocked>,
        F: for<'c> FnMut(Holding<'c, D, O, S>) -> Result<T, E>,
        E: From<Error>,
    {
        let at = self.place(Location::caller());
        let call = self.call(name, at)?;
        let body = |tx: D::Tx<'_, O, Unlocked>| body(ready(Holding::lock(tx, &set, at))?);
        unkeyed(call, self.db, None, body)
    }

    /// See [`BlockingDatabase::transaction_once`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction_once<T, E, F>(self, name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnOnce(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
        E: From<Error>,
    {
        let call = self.call(name, Location::caller())?.once();
        unkeyed(call, self.db, None, again::<D, O, _, _, _>(body))
    }

    /// See [`BlockingDatabase::begin`].
    ///
    /// # Errors
    /// As there. It rejects an option that can't be meant by [`ErrorKind::InvalidSetting`](crate::ErrorKind::InvalidSetting).
    #[track_caller]
    pub fn begin(self, name: &str) -> Result<BlockingOwnedTx<D, O>, Error> {
        let call = self.call(name, Location::caller())?;
        BlockingOwnedTx::begin(call, self.db).map(Keyed::of_new)
    }

    /// See [`BlockingDatabase::attempts`].
    #[must_use]
    #[track_caller]
    pub fn attempts(self, name: &'d str) -> BlockingAttempts<'d, D, O> {
        BlockingAttempts::new(self, None, name, Location::caller())
    }
}

impl<'d, D: OnThisThread, O: LockOrder> WithKey<'d, BlockingDatabase<D, O>> {
    /// See [`BlockingDatabase::idempotency_key`].
    ///
    /// # Errors
    /// As for [`BlockingDatabase::transaction`]; and a key that is empty, longer than 512 bytes, or can't be written because
    /// its table is missing.
    #[track_caller]
    pub fn transaction<T, E, F>(self, name: &str, body: F) -> Result<Keyed<T>, E>
    where
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
        E: From<Error>,
    {
        let call = self.call(name, Location::caller())?;
        keyed(call, self.db(), None, body)
    }

    /// Begins a transaction by hand that commits at most once per key; see [`BlockingDatabase::begin`].
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction).
    #[track_caller]
    pub fn begin(self, name: &str) -> Result<Keyed<BlockingOwnedTx<D, O>>, Error> {
        let call = self.call(name, Location::caller())?;
        BlockingOwnedTx::begin(call, self.db())
    }

    /// Attempts at a transaction by hand that commits at most once per key; see [`BlockingDatabase::attempts`].
    #[must_use]
    #[track_caller]
    pub fn attempts(self, name: &'d str) -> BlockingKeyedAttempts<'d, D, O> {
        let (inner, key) = self.into_parts();
        BlockingKeyedAttempts(BlockingAttempts::new(inner, Some(key), name, Location::caller()))
    }
}
