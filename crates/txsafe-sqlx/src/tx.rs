//! The transaction as its closure sees it.

use crate::{failure::sqlx_behind, observed::Observed};
use sqlx::PgConnection;
use std::{error::Error as StdError, fmt, future::Future, marker::PhantomData};
use txsafe::{
    NoOrder, Unlocked,
    driver::{Account, AsyncHook, HookResult, async_hook},
};

/// A transaction that is running. SQLx's queries run on `&mut tx`, which is an [`Executor`](sqlx::Executor).
///
/// Statements are observed on their way through it, so it doesn't matter what the closure makes of their errors. It
/// doesn't deref to [`PgConnection`], because statements on that would pass unseen; [`connection`](Self::connection)
/// lends it to helpers that want one.
///
/// ```compile_fail,E0614
/// # async fn unseen(db: txsafe_sqlx::Database) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// db.transaction("unseen", async |mut tx| {
///     sqlx::query("DELETE FROM orders").execute(&mut *tx).await?; // write `&mut tx`
///     Ok(())
/// }).await
/// # }
/// ```
///
/// There is no `commit`: returning `Ok` from the closure commits, and returning `Err` rolls back.
///
/// `O` is the lock order of its database, and `Held` the highest rank that it may have locked; see
/// [`at`](Self::at). Where there is no order, write `Tx<'_>`.
#[must_use = "the transaction goes on through this value only"]
pub struct Tx<'c, O = NoOrder, Held = Unlocked> {
    pub(crate) conn: &'c mut PgConnection,
    pub(crate) account: &'c mut Account<AsyncHook>,
    pub(crate) observed: &'c mut Observed,
    rank: PhantomData<fn() -> (O, Held)>,
    // Invariant, as the evidence of its locks is: that of another transaction is none for this one.
    lives: PhantomData<fn(&'c ()) -> &'c ()>,
}

impl<'c, O, Held> Tx<'c, O, Held> {
    pub(crate) fn new(
        conn: &'c mut PgConnection,
        account: &'c mut Account<AsyncHook>,
        observed: &'c mut Observed,
    ) -> Self {
        Self { conn, account, observed, rank: PhantomData, lives: PhantomData }
    }

    /// The same transaction, where another rank may be the highest that is held.
    pub(crate) fn with_rank<Other>(self) -> Tx<'c, O, Other> {
        Tx::new(self.conn, self.account, self.observed)
    }

    /// Lends the connection, for `COPY` and for helpers that take `&mut PgConnection`.
    ///
    /// What fails there is not seen. A swallowed error still never becomes `Ok`, because the server is asked with
    /// COMMIT; but a deadlock is retried only if [`saw`](Self::saw) is told of it:
    ///
    /// ```
    /// # async fn load(conn: &mut sqlx::PgConnection) -> Result<i64, sqlx::Error> {
    /// #     sqlx::query_scalar("SELECT count(*) FROM accounts").fetch_one(conn).await
    /// # }
    /// # async fn run(db: txsafe_sqlx::Database) -> Result<i64, Box<dyn std::error::Error>> {
    /// let count = db.transaction("count", async |mut tx| {
    ///     let count = load(tx.connection()).await.inspect_err(|error| tx.saw(error))?;
    ///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(count)
    /// });
    /// # Ok(count.await.map_err(|e| e.to_string())?)
    /// # }
    /// ```
    pub fn connection(&mut self) -> &mut PgConnection {
        self.observed.unseen();
        self.conn
    }

    /// Tells the transaction of an error that came from the [`connection`](Self::connection) it lent.
    ///
    /// The error may be one of SQLx's or any that has it among its [sources](StdError::source); others are about
    /// something else.
    pub fn saw(&mut self, error: &(dyn StdError + 'static)) {
        if let Some(error) = sqlx_behind(error) {
            self.observed.saw(error);
        }
    }

    /// Queues what is to happen once this attempt has committed: mail, calls to other services, cache updates.
    ///
    /// Hooks run in order, after the connection went back to its pool and before `transaction` returns. A hook that
    /// returns an error or panics is reported (an `error` event, the counter `txsafe_hook_failures_total`); it doesn't
    /// undo the commit or stop the next hook. If the attempt or the savepoint it was queued in is rolled back, it is
    /// dropped. If the answer to COMMIT is lost for good, it isn't run.
    ///
    /// The hook lives longer than the closure's borrows: give it clones.
    pub fn after_commit<F, Fut>(&mut self, hook: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: HookResult> + Send + 'static,
    {
        self.account.hooks.push_after_commit(async_hook(hook));
    }

    /// Queues what is to happen once this attempt has been rolled back, like [`after_commit`](Self::after_commit).
    ///
    /// It runs for every attempt that queued it, those that are tried again included, and before the pause. Queued in a
    /// savepoint that is rolled back, it runs at the end of the attempt. If the caller goes away or the closure panics,
    /// it isn't run.
    pub fn after_rollback<F, Fut>(&mut self, hook: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: HookResult> + Send + 'static,
    {
        self.account.hooks.push_after_rollback(async_hook(hook));
    }
}

impl<O, Held> fmt::Debug for Tx<'_, O, Held> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("transaction", &self.account.transaction).finish_non_exhaustive()
    }
}
