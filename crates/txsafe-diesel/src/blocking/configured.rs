//! A database with the options of one call.

use super::{
    database::Database,
    driver::{Driver, ready},
    held::Held,
    pool::{Pool, R2d2Pool},
    tx::Tx,
    work::Work,
};
use std::{fmt, panic::Location};
use txsafe::{
    Error, Holding, Keyed, LockOrder, LockSet, NoOrder, TxOptions, Unlocked,
    drive::{blocking::run, call::Call},
};

/// A [`Database`] with the options of one call; made by [`Database::with`].
pub struct Configured<'d, O = NoOrder, P: Pool = R2d2Pool> {
    pub(crate) db: &'d Database<O, P>,
    options: Option<TxOptions>,
}

impl<'d, O: LockOrder, P: Pool> Configured<'d, O, P> {
    pub(crate) fn new(db: &'d Database<O, P>, options: Option<TxOptions>) -> Self {
        Self { db, options }
    }

    /// See [`Database::idempotency_key`].
    #[must_use]
    pub fn idempotency_key(self, key: &'d str) -> WithKey<'d, O, P> {
        WithKey { inner: self, key }
    }

    /// See [`Database::transaction_on`].
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
        &'a mut C: Into<Held<'a>>,
        F: for<'c> FnMut(Tx<'c, O>) -> Result<T, E>,
        E: From<Error>,
        'd: 'a,
    {
        let call = self.call(name, Location::caller())?.on_held();
        let held: Held<'a> = conn.into();
        let call = if held.is_replaceable(self.db.pool.r2d2()) { call } else { call.borrowed() };
        unkeyed(call, Work::new(self.db, body).on(held))
    }

    pub(crate) fn call(
        &self,
        name: &str,
        place: &'static Location<'static>,
    ) -> Result<Call, Error> {
        Call::new(&self.db.shared, name, place, self.options.as_ref())
    }
}

impl<O: LockOrder> Configured<'_, O> {
    /// See [`Database::transaction`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction<T, E, F>(self, name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnMut(Tx<'c, O>) -> Result<T, E>,
        E: From<Error>,
    {
        let call = self.call(name, Location::caller())?;
        unkeyed(call, Work::new(self.db, body))
    }

    /// See [`Database::transaction_locking`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction_locking<S, T, E, F>(self, name: &str, set: S, mut body: F) -> Result<T, E>
    where
        S: LockSet<Driver, O, Unlocked>,
        F: for<'c> FnMut(Holding<'c, Driver, O, S>) -> Result<T, E>,
        E: From<Error>,
    {
        let at = Location::caller();
        let call = self.call(name, at)?;
        let body = |tx: Tx<'_, O>| body(ready(Holding::lock(tx, &set, at))?);
        unkeyed(call, Work::new(self.db, body))
    }

    /// See [`Database::transaction_once`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction_once<T, E, F>(self, name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnOnce(Tx<'c, O>) -> Result<T, E>,
        E: From<Error>,
    {
        let call = self.call(name, Location::caller())?.once();
        unkeyed(call, Work::new(self.db, again(body)))
    }
}

/// A [`Database`] with an idempotency key; made by [`Database::idempotency_key`].
pub struct WithKey<'d, O = NoOrder, P: Pool = R2d2Pool> {
    pub(crate) inner: Configured<'d, O, P>,
    key: &'d str,
}

impl<O: LockOrder, P: Pool> WithKey<'_, O, P> {
    pub(crate) fn call(
        &self,
        name: &str,
        place: &'static Location<'static>,
    ) -> Result<Call, Error> {
        self.inner.call(name, place)?.key(self.key)
    }
}

impl<O: LockOrder> WithKey<'_, O> {
    /// See [`Database::idempotency_key`].
    ///
    /// # Errors
    /// As for [`Database::transaction`]; and a key that is empty, longer than 512 bytes, or can't be written because
    /// its table is missing.
    #[track_caller]
    pub fn transaction<T, E, F>(self, name: &str, body: F) -> Result<Keyed<T>, E>
    where
        F: for<'c> FnMut(Tx<'c, O>) -> Result<T, E>,
        E: From<Error>,
    {
        let call = self.call(name, Location::caller())?;
        run(call, Work::new(self.inner.db, body))
    }
}

/// Runs a call that has no key.
pub(crate) fn unkeyed<O, P, F, T, E>(call: Call, work: Work<'_, O, P, F, T, E>) -> Result<T, E>
where
    O: LockOrder,
    P: Pool,
    F: for<'c> FnMut(Tx<'c, O>) -> Result<T, E>,
    E: From<Error>,
{
    match run(call, work)? {
        Keyed::Ran(value) => Ok(value),
        Keyed::AlreadyCommitted => unreachable!("a call without a key claims none"),
    }
}

/// A closure that is called once, in the form of those that are called again.
pub(crate) fn again<O, T, E, F>(body: F) -> impl for<'c> FnMut(Tx<'c, O>) -> Result<T, E>
where
    F: for<'c> FnOnce(Tx<'c, O>) -> Result<T, E>,
{
    let mut body = Some(body);
    move |tx: Tx<'_, O>| {
        let Some(body) = body.take() else {
            unreachable!("the run loop never runs a body of `transaction_once` again");
        };
        body(tx)
    }
}

impl<O, P: Pool> Clone for Configured<'_, O, P> {
    fn clone(&self) -> Self {
        Self { db: self.db, options: self.options.clone() }
    }
}

impl<O, P: Pool> Clone for WithKey<'_, O, P> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), key: self.key }
    }
}

impl<O, P: Pool> fmt::Debug for Configured<'_, O, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configured").field("db", self.db).field("options", &self.options).finish()
    }
}

impl<O, P: Pool> fmt::Debug for WithKey<'_, O, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithKey").field("inner", &self.inner).field("key", &self.key).finish()
    }
}
