//! A database, reached through a pool of a blocking driver.

use super::{
    super::database::pooled_database, attempts::BlockingAttempts, owned_tx::BlockingOwnedTx,
    work::Reached,
};
use crate::{
    driver::blocking::{BlockingDriver, OnThisThread},
    error::Error,
    locks::{
        lock_set::{Holding, LockSet},
        relation::{LockOrder, NoOrder, Unlocked},
    },
    transaction::{builder::Builder, shared::Shared},
};
use std::{marker::PhantomData, sync::Arc};

/// A database, reached through a pool; its transactions share a [`Budget`](crate::Budget) and what was learned of them by name.
///
/// Clones are the same database. `O` is its lock order, where it was given one; see [`lock_order!`](crate::lock_order).
pub struct BlockingDatabase<D: BlockingDriver, O = NoOrder> {
    pub(crate) pool: D::Pool,
    pub(crate) shared: Arc<Shared>,
    pub(crate) known: Arc<D::Known>,
    order: PhantomData<fn() -> O>,
}

impl<D: BlockingDriver> BlockingDatabase<D> {
    /// Sets up a database over a pool.
    #[must_use]
    pub fn builder(pool: D::Pool) -> Builder<Self> {
        Builder::new(D::DIALECT, move |shared| {
            shared.set_pool(Reached::<D>(pool.clone()));
            Self { pool, shared, known: Arc::default(), order: PhantomData }
        })
    }
}

impl<D: OnThisThread, O: LockOrder> BlockingDatabase<D, O> {
    /// Runs `body` in a transaction, again and again where a failure asks for it and a bound allows it.
    ///
    /// `name` is how reports, metrics and `pg_stat_activity` call the transaction: 1 to 128 bytes.
    ///
    /// The closure may run several times, and no attempt sees what another one did: it borrows what it needs and
    /// returns what it found. Its error needs [`From<Error>`](Error) and nothing else; a database error that it
    /// turned into an error of its own is still known, because the connection heard it.
    ///
    /// # Errors
    /// The closure's own error, if its last run returned one: after the last attempt, too. Otherwise an [`Error`]: the closure
    /// returned `Ok` and the transaction didn't commit, it never ran, or the deadline passed. The [`Report`](crate::Report)
    /// of the attempts goes to the log and to [`on_report`](crate::Builder::on_report) in both cases.
    ///
    /// # Panics
    /// If `body` does: the connection is closed, the transaction so rolled back, and the panic goes on.
    #[track_caller]
    pub fn transaction<T, E, F>(&self, name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
        E: From<Error>,
    {
        self.plain().transaction(name, body)
    }

    /// Runs `body` in a transaction like [`transaction`](Self::transaction), once it holds a [set](LockSet) of locks: rows
    /// and advisory locks of any ranks, which are locked in their order however they are written down. So there is no
    /// wrong order to be written, and what is locked is read first.
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction); and a row that isn't there.
    #[track_caller]
    pub fn transaction_locking<S, T, E, F>(&self, name: &str, set: S, body: F) -> Result<T, E>
    where
        S: LockSet<D, O, Unlocked>,
        F: for<'c> FnMut(Holding<'c, D, O, S>) -> Result<T, E>,
        E: From<Error>,
    {
        self.plain().transaction_locking(name, set, body)
    }

    /// Runs `body` in a transaction like [`transaction`](Self::transaction), and never a second time: a first step for
    /// closures that give away what they captured, and the way around S3, mail or HTTP, which can't be rolled back. Only a
    /// failure before the closure ran is tried again.
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction).
    #[track_caller]
    pub fn transaction_once<T, E, F>(&self, name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnOnce(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
        E: From<Error>,
    {
        self.plain().transaction_once(name, body)
    }

    /// Begins a transaction that the caller commits or rolls back by hand: for code that passes an open transaction around.
    /// Where a closure fits, prefer [`transaction`](Self::transaction), which can be run again.
    ///
    /// What fails before it has begun is tried again; nothing after it is. See [`BlockingOwnedTx`].
    ///
    /// # Errors
    /// No connection came free, or BEGIN failed, and no bound allows another attempt; the code runs in another transaction on
    /// this database.
    #[track_caller]
    pub fn begin(&self, name: &str) -> Result<BlockingOwnedTx<D, O>, Error> {
        self.plain().begin(name)
    }

    /// A loop of attempts at a transaction that is begun and committed by hand, with the bounds, pauses and lock timeouts of
    /// [`transaction`](Self::transaction).
    #[must_use]
    #[track_caller]
    pub fn attempts<'a>(&'a self, name: &'a str) -> BlockingAttempts<'a, D, O> {
        self.plain().attempts(name)
    }
}

impl<D: BlockingDriver, O: LockOrder> BlockingDatabase<D, O> {
    /// Runs `body` in a transaction on a connection that the caller holds: a plain one, or a pool's. Pauses keep it.
    ///
    /// If it is lost, one of the database's pool takes its place where the adapter's `Held` says so; a plain one can't
    /// be replaced, and the transaction fails. After a panic it is rolled back and must not be used.
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction); and [`ErrorKind::OpenTransaction`](crate::ErrorKind::OpenTransaction) if
    /// the connection is in a transaction, which stays as it is.
    #[track_caller]
    pub fn transaction_on<'a, C, T, E, F>(
        &'a self,
        conn: &'a mut C,
        name: &str,
        body: F,
    ) -> Result<T, E>
    where
        &'a mut C: Into<D::Held<'a>>,
        F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
        E: From<Error>,
    {
        self.plain().transaction_on(conn, name, body)
    }
}

pooled_database!(BlockingDatabase, BlockingDriver, known);
