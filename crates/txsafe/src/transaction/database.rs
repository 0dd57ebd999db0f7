//! A database, reached through a pool of an async driver.

#[cfg(feature = "sandbox")]
use super::sandbox::Inside;
use super::{
    attempts::Attempts, builder::Builder, call::Call, owned_tx::OwnedTx, reached::Reached,
    shared::Shared, work::Source,
};
use crate::{
    driver::{
        asynchronous::AsyncDriver,
        closure::{AsyncFuncMut, AsyncFuncOnce},
    },
    error::Error,
    locks::{
        lock_set::{Holding, LockSet},
        relation::{LockOrder, NoOrder, Unlocked},
    },
};
use std::{future::Future, marker::PhantomData, sync::Arc};

/// A database, reached through a pool; its transactions share a [`Budget`](crate::Budget) and what was learned of them by name.
///
/// Clones are the same database. `O` is its lock order, where it was given one; see [`lock_order!`](crate::lock_order).
pub struct Database<D: AsyncDriver, O = NoOrder> {
    pub(crate) pool: D::Pool,
    pub(crate) shared: Arc<Shared>,
    /// The sandbox in which all of its transactions run.
    #[cfg(feature = "sandbox")]
    pub(super) sandbox: Option<Arc<Inside<D>>>,
    order: PhantomData<fn() -> O>,
}

impl<D: AsyncDriver> Database<D> {
    /// Sets up a database over a pool.
    #[must_use]
    pub fn builder(pool: D::Pool) -> Builder<Self> {
        let builder = Builder::new(D::DIALECT, move |shared| {
            shared.set_pool(Reached::<D>(pool.clone()));
            Self {
                pool,
                shared,
                #[cfg(feature = "sandbox")]
                sandbox: None,
                order: PhantomData,
            }
        });
        if D::SHOWS_BIND_VALUES { builder } else { builder.hiding_bind_values() }
    }
}

impl<D: AsyncDriver, O: LockOrder> Database<D, O> {
    /// Runs `body` in a transaction, again and again where a failure asks for it and a bound allows it.
    ///
    /// `name` is how reports, metrics and `pg_stat_activity` call the transaction: 1 to 128 bytes.
    ///
    /// The closure may run several times, and no attempt sees what another one did: it borrows what it needs and
    /// returns what it found. Its error needs [`From<Error>`](Error) and nothing else; a database error that it
    /// turned into an error of its own is still known, because the connection saw it.
    ///
    /// # Errors
    /// The closure's own error, if its last run returned one: after the last attempt, too. Otherwise an [`Error`]: the closure
    /// returned `Ok` and the transaction didn't commit, it never ran, or the deadline passed. The [`Report`](crate::Report)
    /// of the attempts goes to the log and to [`on_report`](crate::Builder::on_report) in both cases.
    ///
    /// # Panics
    /// If `body` does: the transaction is rolled back, its connection closed, and the panic goes on.
    #[track_caller]
    pub fn transaction<'a, T, E, F>(
        &'a self,
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
    {
        self.plain().transaction(name, body)
    }

    /// Runs `body` in a transaction like [`transaction`](Self::transaction), and never a second time: a first step for
    /// closures that give away what they captured, and the way around S3, mail or HTTP, which can't be rolled back. Only a
    /// failure before the closure ran is tried again.
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction).
    #[track_caller]
    pub fn transaction_once<'a, T, E, F>(
        &'a self,
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
    {
        self.plain().transaction_once(name, body)
    }

    /// Runs `body` in a transaction like [`transaction`](Self::transaction), on the caller's thread: for closures that hold what
    /// isn't `Send` across an `.await`, such as an `Rc` or the request of a framework that keeps it to one thread.
    ///
    /// The future isn't `Send` either: await it in a handler of such a framework, or in a task of a
    /// [`LocalSet`](https://docs.rs/tokio/latest/tokio/task/struct.LocalSet.html).
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction).
    ///
    /// # Panics
    /// As for [`transaction`](Self::transaction).
    #[track_caller]
    pub fn transaction_local<'a, T, E, F>(
        &'a self,
        name: &'a str,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + 'a
    where
        F: AsyncFnMut(D::Tx<'_, O, Unlocked>) -> Result<T, E> + 'a,
        T: 'a,
        E: From<Error> + 'a,
    {
        self.plain().transaction_local(name, body)
    }

    /// Runs `body` in a transaction like [`transaction`](Self::transaction), once it holds a [set](LockSet) of locks: rows
    /// and advisory locks of any ranks, which are locked in their order however they are written down. So there is no
    /// wrong order to be written, and what is locked is read first.
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction); and a row that isn't there.
    #[track_caller]
    pub fn transaction_locking<'a, S, T, E, F>(
        &'a self,
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
    {
        self.plain().transaction_locking(name, set, body)
    }

    /// Begins a transaction that the caller commits or rolls back by hand: for code that passes an open transaction around.
    /// Where a closure fits, prefer [`transaction`](Self::transaction), which can be run again.
    ///
    /// What fails before it has begun is tried again; nothing after it is. See [`OwnedTx`].
    ///
    /// # Errors
    /// No connection came free, or BEGIN failed, and no bound allows another attempt; the code runs in another transaction on
    /// this database.
    #[track_caller]
    pub fn begin(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<OwnedTx<D, O>, Error>> + Send + use<D, O> {
        self.plain().begin(name)
    }

    /// A loop of attempts at a transaction that is begun and committed by hand, with the bounds, pauses and lock timeouts of
    /// [`transaction`](Self::transaction).
    #[must_use]
    #[track_caller]
    pub fn attempts<'a>(&'a self, name: &'a str) -> Attempts<'a, D, O> {
        self.plain().attempts(name)
    }

    /// Runs `body` in a transaction on a connection that the caller holds: a plain one, or a pool's object. Pauses keep
    /// it. If it is lost, a pool's object gets a new connection; a plain one can't be replaced, and the transaction
    /// fails. After a cancellation or a panic it must not be used; the adapter's `Held` says when it is closed.
    ///
    /// # Errors
    /// As for [`transaction`](Self::transaction); and [`ErrorKind::OpenTransaction`](crate::ErrorKind::OpenTransaction) if
    /// the connection is in a transaction, which stays as it is.
    #[track_caller]
    pub fn transaction_on<'a, C, T, E, F>(
        &'a self,
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
    {
        self.plain().transaction_on(conn, name, body)
    }
}

impl<D: AsyncDriver, O> Database<D, O> {
    /// Where the connections of closures come from.
    pub(super) fn source(&self) -> Source<'_, D> {
        #[cfg(feature = "sandbox")]
        if let Some(inside) = &self.sandbox {
            return Source::Sandbox(Arc::clone(inside));
        }
        Source::Pool(&self.pool)
    }

    /// Refuses what doesn't run in a sandbox, where it would be committed.
    pub(super) fn outside_of_sandbox(&self, call: Call) -> Result<Call, Error> {
        #[cfg(feature = "sandbox")]
        if self.sandbox.is_some() {
            return Err(super::sandbox::refused(&call));
        }
        Ok(call)
    }
}

/// What a database is besides its transactions, be it async or blocking. `$more` are its own fields.
macro_rules! pooled_database {
    ($database:ident, $driver:ident $(, $more:ident)*) => {
        impl<D: $driver, O: LockOrder> $database<D, O> {
            /// Changes options for one call: `db.with(options).transaction(…)`.
            #[must_use]
            pub fn with(&self, options: $crate::TxOptions) -> $crate::Configured<'_, Self> {
                $crate::Configured::new(self, Some(options))
            }

            /// Runs a transaction at most once per key, whatever happens to the answer of its COMMIT:
            /// `db.idempotency_key(key).transaction(…)`.
            ///
            /// The key is written in the transaction itself, into the table of
            /// [`IDEMPOTENCY_KEYS_SQL`](crate::IDEMPOTENCY_KEYS_SQL), under the transaction's name. A call whose key is there
            /// already returns [`Keyed::AlreadyCommitted`](crate::Keyed::AlreadyCommitted) without running its closure. So a
            /// lost answer is no error any more: the transaction is tried again, and either finds its key or commits now.
            ///
            /// `key` tells operations apart: take the id that the client gave its request. It has 1 to 512 bytes. It costs
            /// one round trip, and where the driver prepares its statement another one on each connection's first time.
            /// Add a [`fingerprint`](crate::WithKey::fingerprint) of the request. Without one, a client that reuses a key for
            /// another request gets `AlreadyCommitted`, as if that were done.
            ///
            /// While another call with the key is running, this one waits for its end, as for any lock. If that takes too long
            /// it returns [`ErrorKind::IdempotencyKeyInProgress`](crate::ErrorKind::IdempotencyKeyInProgress), and with
            /// [`nowait`](crate::WithKey::nowait) it does so at once.
            #[must_use]
            pub fn idempotency_key<'d>(&'d self, key: &'d str) -> $crate::WithKey<'d, Self> {
                self.plain().idempotency_key(key)
            }

            /// The pool.
            #[must_use]
            pub fn pool(&self) -> &D::Pool {
                &self.pool
            }

            /// How full the pool is, now: what a health check or a limit for incoming requests wants to know.
            ///
            /// # Examples
            /// ```
            /// use txsafe::PoolState;
            ///
            /// /// Whether to answer 503 rather than to queue one more; called with `db.pool_state()`.
            /// fn is_overloaded(pool: PoolState) -> bool {
            ///     pool.is_exhausted() && pool.waiting.is_some_and(|waiting| waiting > pool.max_size)
            /// }
            ///
            /// assert!(is_overloaded(PoolState::new(8, 8, 0, Some(9))));
            /// assert!(!is_overloaded(PoolState::new(8, 8, 1, Some(0))));
            /// ```
            #[must_use]
            pub fn pool_state(&self) -> $crate::PoolState {
                D::state(&self.pool)
            }

            /// The transactions of this database that hold a connection now, the oldest first: what an endpoint for
            /// operators shows when the pool runs dry. Each [displays](std::fmt::Display) what it does, in one line.
            ///
            /// Those on a connection that their caller holds are among them, and those that ask what became of their COMMIT. It
            /// takes a lock that each attempt takes when it begins to take a connection, when it gets it, and when it gives it
            /// back; and asks their connections.
            #[must_use]
            pub fn running(&self) -> Vec<$crate::RunningTransaction> {
                self.shared.running()
            }

            /// Sets the gauges of the pool to what is true now: `txsafe_pool_connections` (by `state`: `idle`, `in_use`),
            /// `txsafe_pool_max_connections`, and `txsafe_pool_waiting` where the pool tells.
            ///
            /// Each attempt of a transaction sets them when it gets its connection, or gets none in time. They don't hear of
            /// connections that come back, and a pool that went quiet would look busy for ever: **call this before metrics
            /// are rendered.**
            ///
            /// The label `pool` is the [`pool_name`](crate::Builder::pool_name). Without a recorder of the `metrics` facade
            /// it does nothing.
            pub fn record_pool_state(&self) {
                self.shared.record_pool_state();
            }

            /// The budget that retries are paid from.
            #[must_use]
            pub fn budget(&self) -> &$crate::Budget {
                self.shared.budget()
            }

            pub(crate) fn plain(&self) -> $crate::Configured<'_, Self> {
                $crate::Configured::new(self, None)
            }
        }

        impl<D: $driver, O> $crate::transaction::call::Callable for $database<D, O> {
            fn shared(&self) -> &Arc<Shared> {
                &self.shared
            }
        }

        impl<D: $driver> $crate::transaction::builder::Unordered for $database<D> {
            type Ordered<O: LockOrder> = $database<D, O>;

            fn ordered<O: LockOrder>(self) -> $database<D, O> {
                let Self { pool, shared, $($more,)* order: _ } = self;
                $database { pool, shared, $($more,)* order: PhantomData }
            }
        }

        impl<D: $driver, O> Clone for $database<D, O> {
            fn clone(&self) -> Self {
                Self {
                    pool: self.pool.clone(),
                    shared: Arc::clone(&self.shared),
                    $($more: Clone::clone(&self.$more),)*
                    order: PhantomData,
                }
            }
        }

        impl<D: $driver, O> std::fmt::Debug for $database<D, O> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($database))
                    .field("pool", &D::state(&self.pool))
                    .field("shared", &self.shared)
                    .finish_non_exhaustive()
            }
        }
    };
}
pub(super) use pooled_database;

#[cfg(not(feature = "sandbox"))]
pooled_database!(Database, AsyncDriver);
#[cfg(feature = "sandbox")]
pooled_database!(Database, AsyncDriver, sandbox);
