//! A database, reached through a pool of Diesel's blocking connections.

use super::{
    configured::{Configured, WithKey},
    driver::Driver,
    held::Held,
    language::Language,
    pool::{Pool, R2d2Pool},
    reached::Reached,
    tx::Tx,
};
use std::{fmt, marker::PhantomData, sync::Arc};
use txsafe::{
    Budget, Builder, Error, Holding, LockOrder, LockSet, NoOrder, PoolState, TxOptions, Unlocked,
    drive::{builder::Unordered, shared::Shared},
};

/// A database, reached through a pool; its transactions share a [`Budget`] and what was learned of them by name.
///
/// Clones are the same database. `O` is its lock order, where it was given one; see [`lock_order!`](crate::lock_order).
pub struct Database<O = NoOrder, P: Pool = R2d2Pool> {
    pub(crate) pool: P,
    pub(crate) shared: Arc<Shared>,
    pub(crate) language: Arc<Language>,
    order: PhantomData<fn() -> O>,
}

impl<P: Pool> Database<NoOrder, P> {
    /// Sets up a database over a pool.
    #[must_use]
    pub fn builder(pool: P) -> Builder<Self> {
        Builder::new(move |shared| {
            shared.set_pool(Reached(pool.clone()));
            Self { pool, shared, language: Arc::default(), order: PhantomData }
        })
    }
}

impl<O: LockOrder, P: Pool> Database<O, P> {
    /// Runs `body` in a transaction on a connection that the caller holds: a plain one, such as deadpool-diesel's
    /// `interact` lends, or an r2d2 pool's. Pauses keep it.
    ///
    /// If it is lost, one of the database's r2d2 pool takes its place where the pool has more than one; a plain one can't
    /// be replaced, and the transaction fails. After a panic it is rolled back and must not be used.
    ///
    /// # Errors
    /// As for [`transaction`](Database::transaction); and [`ErrorKind::OpenTransaction`](txsafe::ErrorKind::OpenTransaction)
    /// if the connection is in a transaction, which stays as it is.
    #[track_caller]
    pub fn transaction_on<'a, C, T, E, F>(
        &'a self,
        conn: &'a mut C,
        name: &str,
        body: F,
    ) -> Result<T, E>
    where
        &'a mut C: Into<Held<'a>>,
        F: for<'c> FnMut(Tx<'c, O>) -> Result<T, E>,
        E: From<Error>,
    {
        self.plain().transaction_on(conn, name, body)
    }

    /// Changes options for one call: `db.with(options).transaction(…)`.
    #[must_use]
    pub fn with(&self, options: TxOptions) -> Configured<'_, O, P> {
        Configured::new(self, Some(options))
    }

    /// Runs a transaction at most once per key, whatever happens to the answer of its COMMIT:
    /// `db.idempotency_key(key).transaction(…)`.
    ///
    /// The key is written in the transaction itself, into the table of
    /// [`IDEMPOTENCY_KEYS_SQL`](crate::IDEMPOTENCY_KEYS_SQL), under the transaction's name. A call whose key is there
    /// already returns [`Keyed::AlreadyCommitted`](crate::Keyed::AlreadyCommitted) without running its closure. So a
    /// lost answer is no error any more: the transaction is tried again, and either finds its key or commits now.
    ///
    /// `key` tells operations apart: take the id that the client gave its request. It has 1 to 512 bytes. It costs one
    /// round trip.
    #[must_use]
    pub fn idempotency_key<'d>(&'d self, key: &'d str) -> WithKey<'d, O, P> {
        self.plain().idempotency_key(key)
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &P {
        &self.pool
    }

    /// How full the pool is, now: what a health check or a limit for incoming requests wants to know.
    ///
    /// # Examples
    /// ```
    /// use diesel::{PgConnection, r2d2::{ConnectionManager, Pool}};
    /// use txsafe_diesel::blocking::Database;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let manager = ConnectionManager::<PgConnection>::new("postgres://shop@localhost/shop");
    /// let pool = Pool::builder().max_size(8).min_idle(Some(0)).build_unchecked(manager);
    /// let db = Database::builder(pool).service("shop").build()?;
    ///
    /// let pool = db.pool_state();
    /// assert_eq!((pool.size, pool.max_size), (0, 8));
    /// assert!(!pool.is_exhausted());
    /// assert_eq!(pool.waiting, None); // r2d2 doesn't tell
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn pool_state(&self) -> PoolState {
        self.pool.state()
    }

    /// Sets the gauges of the pool to what is true now: `txsafe_pool_connections` (by `state`: `idle`, `in_use`),
    /// `txsafe_pool_max_connections`, and `txsafe_pool_waiting` where the pool tells.
    ///
    /// Each attempt of a transaction sets them when it gets its connection, or gets none in time. They don't hear of
    /// connections that come back, and a pool that went quiet would look busy for ever: **call this before metrics are
    /// rendered.**
    ///
    /// The label `pool` is the [`pool_name`](Builder::pool_name). Without a recorder of the `metrics` facade it does
    /// nothing.
    pub fn record_pool_state(&self) {
        self.shared.record_pool_state();
    }

    /// The budget that retries are paid from.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        self.shared.budget()
    }

    pub(crate) fn plain(&self) -> Configured<'_, O, P> {
        Configured::new(self, None)
    }
}

impl<O: LockOrder> Database<O> {
    /// Runs `body` in a transaction, again and again where a failure asks for it and a bound allows it.
    ///
    /// `name` is how reports, metrics and `pg_stat_activity` call the transaction: 1 to 128 bytes.
    ///
    /// The closure may run several times, and no attempt sees what another one did: it borrows what it needs and
    /// returns what it found. Its error needs [`From<Error>`](Error) and nothing else; a database error that it
    /// turned into an error of its own is still known, because the connection's instrumentation heard it.
    ///
    /// # Errors
    /// The closure's own error, where no failure of the database asked for another attempt; else an [`Error`] that
    /// tells the story.
    ///
    /// # Panics
    /// If `body` does: the connection is closed, the transaction so rolled back, and the panic goes on.
    #[track_caller]
    pub fn transaction<T, E, F>(&self, name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnMut(Tx<'c, O>) -> Result<T, E>,
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
        S: LockSet<Driver, O, Unlocked>,
        F: for<'c> FnMut(Holding<'c, Driver, O, S>) -> Result<T, E>,
        E: From<Error>,
    {
        self.plain().transaction_locking(name, set, body)
    }

    /// Runs `body` in a transaction like [`transaction`](Self::transaction), and never a second time: a first step for
    /// closures that give away what they captured. Only a failure before the closure ran is tried again.
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction).
    #[track_caller]
    pub fn transaction_once<T, E, F>(&self, name: &str, body: F) -> Result<T, E>
    where
        F: for<'c> FnOnce(Tx<'c, O>) -> Result<T, E>,
        E: From<Error>,
    {
        self.plain().transaction_once(name, body)
    }
}

impl<P: Pool> Unordered for Database<NoOrder, P> {
    type Ordered<O: LockOrder> = Database<O, P>;

    fn ordered<O: LockOrder>(self) -> Database<O, P> {
        let Self { pool, shared, language, order: _ } = self;
        Database { pool, shared, language, order: PhantomData }
    }
}

impl<O, P: Pool> Clone for Database<O, P> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            shared: Arc::clone(&self.shared),
            language: Arc::clone(&self.language),
            order: PhantomData,
        }
    }
}

impl<O, P: Pool> fmt::Debug for Database<O, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("pool", &self.pool.state())
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
