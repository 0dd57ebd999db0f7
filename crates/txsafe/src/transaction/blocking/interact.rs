//! Blocking transactions from async code: the run loop on a blocking thread of tokio.

use super::{
    database::BlockingDatabase,
    work::{again, keyed, unkeyed},
};
use crate::{
    dialect::failure::Failure,
    driver::blocking::OnBlockingThreads,
    error::Error,
    guard::code_that_runs::Runner,
    locks::relation::{LockOrder, Unlocked},
    transaction::{
        configured::{Configured, WithKey},
        keyed::Keyed,
    },
};
use std::{
    future::Future,
    panic::{Location, resume_unwind},
};

impl<D: OnBlockingThreads, O: LockOrder> BlockingDatabase<D, O> {
    /// Runs `body` in a transaction on a blocking thread, again and again where a failure asks for it and a bound allows
    /// it; see [`transaction`](Self::transaction) for what that means.
    ///
    /// **If the future is dropped, the transaction goes on**, like deadpool's own `interact`: the thread can't be
    /// stopped, and runs it to its end. Bound it by a `timeout`.
    ///
    /// Each attempt takes a connection of the pool, and pauses hold none; but they hold the thread.
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction).
    ///
    /// # Panics
    /// If `body` does: the transaction is rolled back, its connection closed, and the panic goes on.
    #[track_caller]
    pub fn interact<'a, T, E, F>(
        &'a self,
        name: &'a str,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.plain().interact(name, body)
    }

    /// Runs `body` like [`interact`](Self::interact), and never a second time: a first step for closures that give away
    /// what they captured, or that reach S3, mail or HTTP. Only a failure before the closure ran is tried again.
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction).
    #[track_caller]
    pub fn interact_once<'a, T, E, F>(
        &'a self,
        name: &'a str,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        F: for<'c> FnOnce(D::Tx<'c, O, Unlocked>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.plain().interact_once(name, body)
    }
}

impl<D: OnBlockingThreads, O: LockOrder> Configured<'_, BlockingDatabase<D, O>> {
    /// See [`BlockingDatabase::interact`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn interact<'a, T, E, F>(
        self,
        name: &'a str,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        Self: 'a,
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let call = self.call(name, Location::caller());
        let db = self.db.clone();
        on_a_thread(move || unkeyed(call?, &db, None, body))
    }

    /// See [`BlockingDatabase::interact_once`].
    ///
    /// # Errors
    /// As there; and an option that can't be meant.
    #[track_caller]
    pub fn interact_once<'a, T, E, F>(
        self,
        name: &'a str,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        Self: 'a,
        F: for<'c> FnOnce(D::Tx<'c, O, Unlocked>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let call = self.call(name, Location::caller());
        let db = self.db.clone();
        let body = again::<D, O, _, _, _>(body);
        on_a_thread(move || unkeyed(call?.once(), &db, None, body))
    }
}

impl<D: OnBlockingThreads, O: LockOrder> WithKey<'_, BlockingDatabase<D, O>> {
    /// See [`BlockingDatabase::idempotency_key`] and [`BlockingDatabase::interact`].
    ///
    /// # Errors
    /// As there; and a key that is empty, longer than 512 bytes, or can't be written because its table is missing.
    #[track_caller]
    pub fn interact<'a, T, E, F>(
        self,
        name: &'a str,
        body: F,
    ) -> impl Future<Output = Result<Keyed<T>, E>> + Send + 'a
    where
        Self: 'a,
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let call = self.call(name, Location::caller());
        let db = self.db().clone();
        on_a_thread(move || keyed(call?, &db, None, body))
    }
}

/// Runs a transaction on a blocking thread, inside the span of its caller; its panic goes on here.
pub(crate) async fn on_a_thread<T, E>(
    transaction: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let (span, runner) = (tracing::Span::current(), Runner::here());
    match tokio::task::spawn_blocking(move || runner.run(|| span.in_scope(transaction))).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_shutdown) => {
                Err(Error::from(Failure::local("the runtime went away before it began")).into())
            }
        },
    }
}
