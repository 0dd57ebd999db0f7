//! What an async adapter knows of its driver.

use super::session::{AsyncSession, Question, SessionOptions};
use crate::{
    dialect::{Dialect, failure::Failure},
    locks::{
        lock::Locks,
        relation::{LockOrder, Unlocked},
    },
    telemetry::pool::PoolState,
};
use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What an async adapter knows of its driver: pools, connections, and what a closure gets. Adapters implement it for a
/// type that is never made, and name `Database<Driver>` for their users.
pub trait AsyncDriver: Locks + Send + Sync {
    /// Where connections come from; clones are the same pool.
    type Pool: Clone + Send + Sync + 'static;
    /// A connection that the caller holds.
    type Held<'a>: AsyncHeld<Pool = Self::Pool, Session = Self::Session<'a>> + 'a;
    /// A connection while it runs one attempt.
    type Session<'a>: AsyncSession;

    /// The kind of database that it speaks to.
    const DIALECT: &'static dyn Dialect;

    /// Whether the driver gives out the bind values of statements.
    const SHOWS_BIND_VALUES: bool;

    /// How full the pool is.
    fn state(pool: &Self::Pool) -> PoolState;

    /// Takes a connection from the pool.
    fn checkout<'a>(
        pool: &'a Self::Pool,
        options: SessionOptions,
    ) -> impl Future<Output = Result<Self::Session<'a>, Failure>> + Send;

    /// Takes a connection from the pool, for a transaction that may outlive the borrow of its pool.
    ///
    /// It is a method of its own: one whose lifetime isn't that of the pool would keep the compiler from seeing that futures of
    /// the callers are `Send`.
    fn checkout_owned(
        pool: &Self::Pool,
        options: SessionOptions,
    ) -> impl Future<Output = Result<Self::Session<'static>, Failure>> + Send;

    /// The transaction that the closure works with, before anything is locked.
    fn tx<'c, O: LockOrder>(session: &'c mut Self::Session<'_>) -> Self::Tx<'c, O, Unlocked>;

    /// A transaction that owns its session, for code that begins and ends it by hand.
    fn own<O: LockOrder>(session: Self::Session<'static>) -> Self::Tx<'static, O, Unlocked>;

    /// The session of a transaction that [`own`](Self::own) made.
    fn disown<O: LockOrder>(tx: Self::Tx<'static, O, Unlocked>) -> Self::Session<'static>;

    /// Asks the server on a connection of its own, made for that and closed: the pool may have none.
    fn ask_beside(
        pool: &Self::Pool,
        question: Question<'_>,
    ) -> impl Future<Output = Result<Option<String>, Failure>> + Send;

    /// Sleeps, between attempts and rounds of an outbox.
    fn sleep(pause: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// Waits for `after`, until the caller's deadline. An adapter whose `sleep` follows a clock that tests can pause must wait in
    /// real time here, because the server does. Default: [`sleep`](Self::sleep).
    #[must_use]
    fn deadline(after: Duration) -> impl Future<Output = ()> + Send + 'static {
        Self::sleep(after)
    }
}

/// A connection that the caller holds, and lends to all attempts of one transaction.
pub trait AsyncHeld: Send + Sized {
    /// Where connections come from.
    type Pool;
    /// A connection while it runs one attempt.
    type Session;

    /// Starts an attempt on it, which puts it back into `slot` at its end. One that was lost is replaced first, where
    /// that can be; `pool` is the database's, and knows how.
    fn open(
        self,
        pool: &Self::Pool,
        slot: Arc<Slot<Self>>,
        options: SessionOptions,
    ) -> impl Future<Output = Result<Self::Session, Failure>> + Send;

    /// Whether a lost connection can be replaced where the caller holds it.
    fn is_replaceable(&self) -> bool;
}

/// Where the caller's connection waits between attempts: a session takes it and puts it back when it is dropped.
pub struct Slot<H>(Mutex<Option<H>>);

impl<H> Slot<H> {
    /// With the connection in it.
    pub(crate) fn new(held: H) -> Self {
        Self(Mutex::new(Some(held)))
    }

    /// Takes the connection.
    pub(crate) fn take(&self) -> Option<H> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts the connection back for the next attempt.
    pub fn put_back(&self, held: H) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }
}

impl<H> fmt::Debug for Slot<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}
