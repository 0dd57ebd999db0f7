//! Pools of Diesel's blocking connections.

use super::checkout::checkout;
use crate::asked::Asked;
use diesel::{
    PgConnection,
    r2d2::{self, ConnectionManager, PooledConnection},
};
use txsafe::{
    Failure, PoolState,
    driver::{Question, SessionOptions},
};

/// An r2d2 pool of Diesel's connections.
pub(crate) type R2d2Pool = r2d2::Pool<ConnectionManager<PgConnection>>;

/// A connection of an r2d2 pool.
pub(crate) type R2d2Object = PooledConnection<ConnectionManager<PgConnection>>;

/// A pool that a [`Database`](super::Database) can be built over: r2d2's, or deadpool-diesel's. Nobody else implements
/// it.
pub trait Pool: Sealed + Clone + Send + Sync + 'static {}

/// What the run loop needs of a pool.
pub trait Sealed {
    /// A connection of it.
    type Object: Object;

    /// Takes a connection, within the checkout timeout.
    fn checkout(&self, options: SessionOptions) -> Result<Self::Object, Failure>;

    /// This pool, if a lost connection can be replaced from it where the caller holds it.
    fn r2d2(&self) -> Option<&R2d2Pool>;

    /// How full it is.
    fn state(&self) -> PoolState;

    /// Asks the server, if a connection is idle.
    fn ask(&self, _question: Question<'_>) -> Option<String> {
        None
    }

    /// The most connections that there may be; asked while r2d2's pool is locked.
    fn max_size(&self) -> usize;
}

/// A connection of a pool; dropped, it goes back.
pub trait Object {
    /// Lends the connection.
    fn with<R>(&mut self, work: impl FnOnce(&mut PgConnection) -> R) -> R;

    /// Closes it, now.
    fn close(self);
}

impl Pool for R2d2Pool {}

impl Sealed for R2d2Pool {
    type Object = R2d2Object;

    fn checkout(&self, options: SessionOptions) -> Result<R2d2Object, Failure> {
        checkout(self, options)
    }

    fn r2d2(&self) -> Option<&R2d2Pool> {
        Some(self)
    }

    fn state(&self) -> PoolState {
        let state = Self::state(self);
        let [size, idle] = [state.connections, state.idle_connections].map(to_usize);
        PoolState::new(size, Sealed::max_size(self), idle, None)
    }

    fn ask(&self, question: Question<'_>) -> Option<String> {
        let mut conn = self.try_get()?;
        // A question that can't be asked has no answer.
        Asked(question).ask_blocking(&mut conn).unwrap_or_default()
    }

    fn max_size(&self) -> usize {
        // A setting: the pool isn't locked for it.
        to_usize(Self::max_size(self))
    }
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Object for R2d2Object {
    fn with<R>(&mut self, work: impl FnOnce(&mut PgConnection) -> R) -> R {
        work(self)
    }

    fn close(mut self) {
        // The pool closes one that is in error before `drop` returns, and the server frees the locks.
        super::session::set_in_error(&mut self);
    }
}
