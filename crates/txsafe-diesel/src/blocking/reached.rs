//! A database as the guard sees it.

use super::pool::Pool;
use txsafe::{PoolState, guard::pool::Pool as Seen};

/// A database, reached through this pool. Nobody is asked beside it: who waits for its own locks blocks its thread.
pub(crate) struct Reached<P: Pool>(pub(crate) P);

impl<P: Pool> Seen for Reached<P> {
    fn state(&self) -> PoolState {
        self.0.state()
    }

    fn max_size(&self) -> usize {
        self.0.max_size()
    }
}
