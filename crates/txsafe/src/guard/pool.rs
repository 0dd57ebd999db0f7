//! What the guard asks of the pool that a transaction's connection is of.

use crate::telemetry::pool::PoolState;
use futures_util::future::BoxFuture;

/// What the guard asks of the pool that a transaction's connection is of.
pub trait Pool: Send + Sync {
    /// How full it is.
    fn state(&self) -> PoolState;

    /// The most connections that there may be. For pools that report a timeout while they are locked, as r2d2 does, it must
    /// not lock them.
    fn max_size(&self) -> usize;

    /// Asks the server on a connection beside the pool: `sql` returns a text or nothing. `None` where nobody can be asked.
    fn ask(
        &self,
        _sql: &'static str,
        _binds: [String; 2],
    ) -> Option<BoxFuture<'static, Option<String>>> {
        None
    }
}
