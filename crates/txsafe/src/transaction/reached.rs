//! A database as the guard sees it.

use crate::{
    driver::{asynchronous::AsyncDriver, session::Question},
    guard::pool::Pool,
    telemetry::pool::PoolState,
};
use futures_util::future::BoxFuture;

/// A database, reached through this pool.
pub(crate) struct Reached<D: AsyncDriver>(pub(crate) D::Pool);

impl<D: AsyncDriver> Pool for Reached<D> {
    fn state(&self) -> PoolState {
        D::state(&self.0)
    }

    fn max_size(&self) -> usize {
        self.state().max_size
    }

    fn ask(
        &self,
        sql: &'static str,
        binds: [String; 2],
    ) -> Option<BoxFuture<'static, Option<String>>> {
        let pool = self.0.clone();
        Some(Box::pin(async move {
            let binds = [binds[0].as_str(), binds[1].as_str()];
            // A question that can't be asked has no answer; the transaction has its own trouble.
            D::ask_beside(&pool, Question::new(sql, &binds)).await.unwrap_or_default()
        }))
    }
}
