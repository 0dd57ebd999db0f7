//! A database with the options of one call.

use super::{
    attempts::{Attempts, KeyedAttempts},
    call::{Call, Callable},
    claim::CallKey,
    database::Database,
    keyed::Keyed,
    local::unkeyed_local,
    options::TxOptions,
    owned_tx::OwnedTx,
    work::{Again, Locking, Once, Source, keyed, unkeyed},
};
use crate::{
    driver::{
        asynchronous::{AsyncDriver, AsyncHeld, Slot},
        closure::{AsyncFuncMut, AsyncFuncOnce},
    },
    error::Error,
    locks::{
        lock_set::{Holding, LockSet},
        relation::{LockOrder, Unlocked},
    },
};
use std::{future::Future, panic::Location, sync::Arc};

/// A database of type `B` with the options of one call; made by [`Database::with`].
#[derive(Debug)]
pub struct Configured<'d, B> {
    pub(super) db: &'d B,
    options: Option<TxOptions>,
    called_at: Option<&'static Location<'static>>,
}

/// A database of type `B` with an idempotency key; made by [`Database::idempotency_key`].
#[derive(Debug)]
pub struct WithKey<'d, B> {
    inner: Configured<'d, B>,
    key: CallKey<'d>,
}

impl<'d, B> Configured<'d, B> {
    pub(crate) fn new(db: &'d B, options: Option<TxOptions>) -> Self {
        Self { db, options, called_at: None }
    }

    /// Reports, findings and the lock graph name this place as that of the call: for a library that begins transactions, and ends
    /// them, for an application. It is the [`Location::caller`] of the function by which the application sets the library up.
    /// Default: the line that calls `transaction` or `begin`.
    ///
    /// The line that calls `commit`, `rollback` or `finish` is then the library's, and no finding names it.
    #[must_use]
    pub fn called_at(mut self, place: &'static Location<'static>) -> Self {
        self.called_at = Some(place);
        self
    }

    /// See [`Database::idempotency_key`].
    #[must_use]
    pub fn idempotency_key(self, key: &'d str) -> WithKey<'d, B> {
        WithKey { inner: self, key: CallKey::new(key) }
    }
}

impl<B: Callable> Configured<'_, B> {
    pub(crate) fn call(
        &self,
        name: &str,
        place: &'static Location<'static>,
    ) -> Result<Call, Error> {
        let call = Call::new(self.db.shared(), name, self.place(place), self.options.as_ref())?;
        Ok(if self.called_at.is_some() { call.by_library() } else { call })
    }

    /// The place that is named as that of the call, which is made at `place`.
    pub(super) fn place(&self, place: &'static Location<'static>) -> &'static Location<'static> {
        self.called_at.unwrap_or(place)
    }
}

impl<B> WithKey<'_, B> {
    /// Tells requests apart that come with the same key: by a hash of `request`, which is written with the key. A later call with
    /// the key and another request returns [`ErrorKind::IdempotencyKeyReused`](crate::ErrorKind::IdempotencyKeyReused), where
    /// without a fingerprint it would return [`Keyed::AlreadyCommitted`](crate::Keyed::AlreadyCommitted), as if it were done.
    ///
    /// `request` is what is the same whenever this operation is repeated, and differs between operations: the body of the
    /// request, and with it what the path says. It isn't stored; its SHA-256 is, in the column `fingerprint`. Where either call
    /// comes without a fingerprint, nothing is compared. To compare costs one round trip, of a call whose key is there already.
    ///
    /// A table that was made before there was such a column gets it by
    /// [`IDEMPOTENCY_KEYS_SQL`](crate::IDEMPOTENCY_KEYS_SQL), run once more.
    #[must_use]
    pub fn fingerprint(self, request: impl AsRef<[u8]>) -> Self {
        Self { key: self.key.fingerprint(request.as_ref()), ..self }
    }

    /// Doesn't wait for another call with the same key that is still running, but returns
    /// [`ErrorKind::IdempotencyKeyInProgress`](crate::ErrorKind::IdempotencyKeyInProgress) at once.
    ///
    /// By default a call waits for the other one, because that may roll back and leave the key free: as it waits for any lock, at
    /// most `lock_timeout` in each attempt, and the same error ends the last one. A call whose own attempt lost its
    /// connection waits, too: it may be its own transaction that is still running.
    ///
    /// SQLite has one writer at a time, and can't tell for whom BEGIN waits: there it is an
    /// [`InvalidSetting`](crate::ErrorKind::InvalidSetting).
    #[must_use]
    pub fn nowait(self) -> Self {
        Self { key: self.key.nowait(), ..self }
    }
}

impl<'d, B: Callable> WithKey<'d, B> {
    /// The database with the options of the call, and the key.
    pub(super) fn into_parts(self) -> (Configured<'d, B>, CallKey<'d>) {
        (self.inner, self.key)
    }

    pub(super) fn db(&self) -> &'d B {
        self.inner.db
    }

    pub(super) fn call(
        &self,
        name: &str,
        place: &'static Location<'static>,
    ) -> Result<Call, Error> {
        self.inner.call(name, place)?.key(self.key.clone())
    }
}

impl<'d, D: AsyncDriver, O: LockOrder> Configured<'d, Database<D, O>> {
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
        F: for<'c> AsyncFnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>
            + for<'c> AsyncFuncMut<D::Tx<'c, O, Unlocked>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
        'd: 'a,
    {
        let call = self.call(name, Location::caller());
        let pool = self.db.source();
        async move { unkeyed(call?, pool, Again(body)).await }
    }

    /// See [`Database::transaction_locking`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction_locking<'a, S, T, E, F>(
        self,
        name: &'a str,
        set: S,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        S: LockSet<D, O, Unlocked> + 'a,
        F: for<'c> AsyncFnMut(Holding<'c, D, O, S>) -> Result<T, E>
            + for<'c> AsyncFuncMut<Holding<'c, D, O, S>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
        'd: 'a,
    {
        let at = self.place(Location::caller());
        let call = self.call(name, at);
        let pool = self.db.source();
        async move { unkeyed(call?, pool, Locking(set, body, at)).await }
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
        F: for<'c> AsyncFnOnce(D::Tx<'c, O, Unlocked>) -> Result<T, E>
            + for<'c> AsyncFuncOnce<D::Tx<'c, O, Unlocked>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
        'd: 'a,
    {
        let call = self.call(name, Location::caller()).map(Call::once);
        let pool = self.db.source();
        async move { unkeyed(call?, pool, Once(Some(body))).await }
    }

    /// See [`Database::transaction_local`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn transaction_local<'a, T, E, F>(
        self,
        name: &'a str,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + 'a
    where
        F: AsyncFnMut(D::Tx<'_, O, Unlocked>) -> Result<T, E> + 'a,
        T: 'a,
        E: From<Error> + 'a,
        'd: 'a,
    {
        let call = self.call(name, Location::caller());
        let call = call.and_then(|call| self.db.outside_of_sandbox(call));
        let pool = Source::Pool(&self.db.pool);
        async move { unkeyed_local(call?, pool, body).await }
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
        &'a mut C: Into<D::Held<'a>>,
        F: for<'c> AsyncFnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>
            + for<'c> AsyncFuncMut<D::Tx<'c, O, Unlocked>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
        'd: 'a,
    {
        let call = self.call(name, Location::caller()).map(Call::on_held);
        let call = call.and_then(|call| self.db.outside_of_sandbox(call));
        let held: D::Held<'a> = conn.into();
        let call = if held.is_replaceable() { call } else { call.map(Call::borrowed) };
        let held = Source::Held(&self.db.pool, Arc::new(Slot::new(held)));
        async move { unkeyed(call?, held, Again(body)).await }
    }
}

impl<'d, D: AsyncDriver, O: LockOrder> Configured<'d, Database<D, O>> {
    /// See [`Database::begin`].
    ///
    /// # Errors
    /// As there. It rejects an option that can't be meant by [`ErrorKind::InvalidSetting`](crate::ErrorKind::InvalidSetting).
    #[track_caller]
    pub fn begin(
        self,
        name: &str,
    ) -> impl Future<Output = Result<OwnedTx<D, O>, Error>> + Send + use<D, O> {
        let call = self.call(name, Location::caller());
        let call = call.and_then(|call| self.db.outside_of_sandbox(call));
        let begun = OwnedTx::begin(call, self.db.pool.clone());
        async move { begun.await.map(Keyed::of_new) }
    }

    /// See [`Database::attempts`].
    #[must_use]
    #[track_caller]
    pub fn attempts(self, name: &'d str) -> Attempts<'d, D, O> {
        Attempts::new(self, None, name, Location::caller())
    }
}

impl<'d, D: AsyncDriver, O: LockOrder> WithKey<'d, Database<D, O>> {
    /// Begins a transaction by hand that commits at most once per key; see [`Database::idempotency_key`] and
    /// [`Database::begin`].
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction).
    #[track_caller]
    pub fn begin(
        self,
        name: &str,
    ) -> impl Future<Output = Result<Keyed<OwnedTx<D, O>>, Error>> + Send + use<D, O> {
        let call = self.call(name, Location::caller());
        let call = call.and_then(|call| self.db().outside_of_sandbox(call));
        OwnedTx::begin(call, self.db().pool.clone())
    }

    /// Attempts at a transaction by hand that commits at most once per key; see [`Database::attempts`].
    #[must_use]
    #[track_caller]
    pub fn attempts(self, name: &'d str) -> KeyedAttempts<'d, D, O> {
        let (inner, key) = self.into_parts();
        KeyedAttempts(Attempts::new(inner, Some(key), name, Location::caller()))
    }

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
        F: for<'c> AsyncFnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>
            + for<'c> AsyncFuncMut<D::Tx<'c, O, Unlocked>, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        T: Send + 'a,
        E: From<Error> + Send + 'a,
        'd: 'a,
    {
        let call = self.call(name, Location::caller());
        let pool = self.db().source();
        async move { keyed(call?, pool, Again(body)).await }
    }
}

impl<B> Clone for Configured<'_, B> {
    fn clone(&self) -> Self {
        Self { db: self.db, options: self.options.clone(), called_at: self.called_at }
    }
}

impl<B> Clone for WithKey<'_, B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), key: self.key.clone() }
    }
}
