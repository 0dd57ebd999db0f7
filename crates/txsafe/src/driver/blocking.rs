//! What a blocking adapter knows of its driver.

use super::{
    asynchronous::Slot,
    session::{Question, Session, SessionOptions},
};
use crate::{
    dialect::{Dialect, failure::Failure},
    locks::{
        lock::Locks,
        relation::{LockOrder, Unlocked},
    },
    telemetry::pool::PoolState,
};
use std::sync::Arc;

/// The blocking twin of [`AsyncDriver`](super::AsyncDriver). Adapters implement it for a type that is never made, and name
/// `BlockingDatabase<Driver>` for their users.
pub trait BlockingDriver: Locks {
    /// Where connections come from; clones are the same pool.
    type Pool: Clone + Send + Sync + 'static;
    /// What one connection has told of the database, once for all of them.
    type Known: Default + Send + Sync + 'static;
    /// A connection that the caller holds.
    type Held<'a>: BlockingHeld<Driver = Self, Session = Self::Session<'a>> + 'a;
    /// A connection while it runs one attempt.
    type Session<'a>: Session;

    /// The kind of database that it speaks to.
    const DIALECT: &'static dyn Dialect;

    /// How full the pool is.
    fn state(pool: &Self::Pool) -> PoolState;

    /// The most connections that the pool may have; asked while somebody may have locked it.
    fn max_size(pool: &Self::Pool) -> usize {
        Self::state(pool).max_size
    }

    /// Takes a connection from the pool.
    ///
    /// # Errors
    /// Why there is none.
    fn checkout<'a>(
        pool: &Self::Pool,
        known: &Self::Known,
        options: SessionOptions,
    ) -> Result<Self::Session<'a>, Failure>;

    /// Runs the closure on the transaction, before anything is locked.
    fn run<O: LockOrder, R>(
        session: &mut Self::Session<'_>,
        body: impl FnOnce(Self::Tx<'_, O, Unlocked>) -> R,
    ) -> R;

    /// Asks the server on another connection, if one is idle.
    fn ask_beside(pool: &Self::Pool, question: Question<'_>) -> Option<String>;
}

/// A blocking driver whose transactions run on their caller's thread.
pub trait OnThisThread: BlockingDriver {
    /// See [`AsyncDriver::own`](super::AsyncDriver::own).
    fn own<O: LockOrder>(session: Self::Session<'static>) -> Self::Tx<'static, O, Unlocked>;

    /// See [`AsyncDriver::disown`](super::AsyncDriver::disown).
    fn disown<O: LockOrder>(tx: Self::Tx<'static, O, Unlocked>) -> Self::Session<'static>;
}

/// A blocking driver whose transactions run on threads of their own, for async code that waits for them.
pub trait OnBlockingThreads: BlockingDriver {}

/// The blocking twin of [`AsyncHeld`](super::AsyncHeld).
pub trait BlockingHeld: Sized {
    /// The driver whose connection it is.
    type Driver: BlockingDriver;
    /// A connection while it runs one attempt.
    type Session;

    /// See [`AsyncHeld::open`](super::AsyncHeld::open).
    ///
    /// # Errors
    /// Why it can't be used, or there is no other.
    fn open(
        self,
        pool: &<Self::Driver as BlockingDriver>::Pool,
        known: &<Self::Driver as BlockingDriver>::Known,
        slot: Arc<Slot<Self>>,
        options: SessionOptions,
    ) -> Result<Self::Session, Failure>;

    /// Whether a lost connection can be replaced where the caller holds it.
    fn is_replaceable(&self, pool: &<Self::Driver as BlockingDriver>::Pool) -> bool;
}
