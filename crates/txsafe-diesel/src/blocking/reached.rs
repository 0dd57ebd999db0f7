//! A database as the guard sees it.

use super::pool::Pool;
use futures_util::future::{BoxFuture, ready};
use txsafe::{PoolState, drive::session::Question, guard::pool::Pool as Seen};

/// A database, reached through this pool.
pub(crate) struct Reached<P: Pool>(pub(crate) P);

impl<P: Pool> Seen for Reached<P> {
    fn state(&self) -> PoolState {
        self.0.state()
    }

    fn max_size(&self) -> usize {
        self.0.max_size()
    }

    fn ask(
        &self,
        sql: &'static str,
        binds: [String; 2],
    ) -> Option<BoxFuture<'static, Option<String>>> {
        let binds = [binds[0].as_str(), binds[1].as_str()];
        Some(Box::pin(ready(self.0.ask(Question { sql, binds: &binds }))))
    }
}
