//! A database with the options of one call.

use crate::{
    database::Database,
    held::{Held, Slot},
    tx::Tx,
    work::{Again, Body, Once, Source, Work},
};
use std::{future::Future, panic::Location, sync::Arc};
use txsafe::{
    AsyncFuncMut, AsyncFuncOnce, Error, Keyed, TxOptions,
    drive::{call::Call, run::run},
};

/// A [`Database`] with the options of one call; made by [`Database::with`].
#[derive(Debug, Clone)]
pub struct Configured<'d> {
    db: &'d Database,
    options: Option<TxOptions>,
}

impl<'d> Configured<'d> {
    pub(crate) fn new(db: &'d Database, options: Option<TxOptions>) -> Self {
        Self { db, options }
    }

    /// See [`Database::idempotency_key`].
    #[must_use]
    pub fn idempotency_key(self, key: &'d str) -> WithKey<'d> {
        WithKey { inner: self, key }
    }

    /// See [`Database::transaction`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction<'a, T, E, F>(
        self,
        name: &'a str,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        F: for<'c> AsyncFnMut(Tx<'c>) -> Result<T, E>
            + for<'c> AsyncFuncMut<Tx<'c>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
        'd: 'a,
    {
        let call = self.call(name, Location::caller());
        let pool = Source::Pool(&self.db.pool);
        async move { unkeyed(call?, Work::new(pool, Again(body))).await }
    }

    /// See [`Database::transaction_once`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction_once<'a, T, E, F>(
        self,
        name: &'a str,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        F: for<'c> AsyncFnOnce(Tx<'c>) -> Result<T, E>
            + for<'c> AsyncFuncOnce<Tx<'c>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
        'd: 'a,
    {
        let call = self.call(name, Location::caller()).map(Call::once);
        let pool = Source::Pool(&self.db.pool);
        async move { unkeyed(call?, Work::new(pool, Once(Some(body)))).await }
    }

    /// See [`Database::transaction_on`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction_on<'a, C, T, E, F>(
        self,
        conn: &'a mut C,
        name: &'a str,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        C: Held + 'a,
        F: for<'c> AsyncFnMut(Tx<'c>) -> Result<T, E>
            + for<'c> AsyncFuncMut<Tx<'c>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
        'd: 'a,
    {
        let call = self.call(name, Location::caller());
        let call = if conn.is_replaceable() { call } else { call.map(Call::borrowed) };
        let held = Source::Held(Arc::new(Slot::new(conn)));
        async move { unkeyed(call?, Work::new(held, Again(body))).await }
    }

    fn call(&self, name: &str, place: &'static Location<'static>) -> Result<Call, Error> {
        Call::new(&self.db.shared, name, place, self.options.as_ref())
    }
}

/// A [`Database`] with an idempotency key; made by [`Database::idempotency_key`].
#[derive(Debug, Clone)]
pub struct WithKey<'d> {
    inner: Configured<'d>,
    key: &'d str,
}

impl<'d> WithKey<'d> {
    /// See [`Database::idempotency_key`].
    ///
    /// # Errors
    /// As for [`Database::transaction`]; and a key that is empty, longer than 512 bytes, or can't be written because
    /// its table is missing.
    #[track_caller]
    pub fn transaction<'a, T, E, F>(
        self,
        name: &'a str,
        body: F,
    ) -> impl Future<Output = Result<Keyed<T>, E>> + Send + 'a
    where
        F: for<'c> AsyncFnMut(Tx<'c>) -> Result<T, E>
            + for<'c> AsyncFuncMut<Tx<'c>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
        'd: 'a,
    {
        let call = self.inner.call(name, Location::caller()).and_then(|call| call.key(self.key));
        let pool = Source::Pool(&self.inner.db.pool);
        async move { run(call?, Work::new(pool, Again(body))).await }
    }
}

async fn unkeyed<B, T, E>(call: Call, work: Work<'_, B, T, E>) -> Result<T, E>
where
    B: Body<T, E>,
    T: Send,
    E: From<Error> + Send,
{
    match run(call, work).await? {
        Keyed::Ran(value) => Ok(value),
        Keyed::AlreadyCommitted => unreachable!("a call without a key claims none"),
    }
}
