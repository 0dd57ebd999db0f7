//! What the guard asks of the pool that a transaction's connection is of.

use crate::hold::pool::PoolState;
use futures_util::future::BoxFuture;

/// What the guard asks of the pool that a transaction's connection is of.
pub trait Pool: Send + Sync {
    /// How full it is.
    fn state(&self) -> PoolState;

    /// Asks the server on a connection beside the pool: `sql` returns a text or nothing. `None` where nobody can be asked.
    fn ask(
        &self,
        _sql: &'static str,
        _binds: [String; 2],
    ) -> Option<BoxFuture<'static, Option<String>>> {
        None
    }
}

/// A pool beside which nobody can be asked.
impl<F: Fn() -> PoolState + Send + Sync> Pool for F {
    fn state(&self) -> PoolState {
        self()
    }
}
