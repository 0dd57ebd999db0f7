//! The transaction as its closure sees it.

use crate::{
    engine::{Conn, Engine},
    failure::sqlx_behind,
    observed::Observed,
    session::Session,
};
use std::{error::Error as StdError, fmt, marker::PhantomData};
use txsafe::{
    NoOrder, Unlocked,
    driver::{self, Account, AsyncHook, TxSession, hints::LendsByAsMut},
};

/// A transaction that is running. SQLx's queries run on `&mut tx`, which is an [`Executor`](sqlx::Executor).
///
/// Statements are observed on their way through it, so it doesn't matter what the closure makes of their errors. It
/// doesn't deref to its connection, because statements on that would pass unseen; [`connection`](Self::connection)
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
/// ```compile_fail,E0277
/// # async fn unseen(db: txsafe_sqlx::Database) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// db.transaction("unseen", async |mut tx| {
///     sqlx::query("DELETE FROM orders").execute(tx.as_mut()).await?; // "`&mut Tx` is the executor itself"
///     Ok(())
/// }).await
/// # }
/// ```
///
/// `O` is the lock order of its database, and `Held` the highest rank that it may have locked; see
/// [`at`](Self::at). Where there is no order, write `Tx<'_>`.
#[must_use = "the transaction goes on through this value only"]
pub struct Tx<'c, DB: Engine, O = NoOrder, Held = Unlocked> {
    session: Of<'c, DB>,
    rank: PhantomData<fn() -> (O, Held)>,
    // Invariant, as the evidence of its locks is: that of another transaction is none for this one.
    lives: PhantomData<fn(&'c ()) -> &'c ()>,
}

/// What it works with.
pub(crate) type Parts<'c, DB> = driver::Parts<'c, Conn<DB>, AsyncHook, Observed<DB>>;

type Of<'c, DB> = TxSession<'c, Conn<DB>, AsyncHook, Observed<DB>, Session<'static, DB>>;

impl<'c, DB: Engine, O, Held> Tx<'c, DB, O, Held> {
    pub(crate) fn new(session: Parts<'c, DB>) -> Self {
        Self::of(TxSession::Lent(session))
    }

    fn of(session: Of<'c, DB>) -> Self {
        Self { session, rank: PhantomData, lives: PhantomData }
    }

    /// The same transaction, where another rank may be the highest that is held.
    pub(crate) fn with_rank<Other>(self) -> Tx<'c, DB, O, Other> {
        Tx::of(self.session)
    }

    pub(crate) fn parts(&mut self) -> Parts<'_, DB> {
        self.session.parts()
    }

    pub(crate) fn account(&mut self) -> &mut Account<AsyncHook> {
        self.parts().account
    }

    /// Lends the connection, for `COPY` and for helpers that take `&mut PgConnection`.
    ///
    /// txsafe doesn't see what fails there; report it by [`saw`](Self::saw). Otherwise its code isn't known: on PostgreSQL, which
    /// aborts the transaction, the closure runs three times at most, a deadlock or not
    /// ([`Cause::FailedUnseen`](crate::Cause::FailedUnseen)). SQLite goes on behind a failure: there nothing is retried, and an
    /// error that the closure swallows commits.
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
    pub fn connection(&mut self) -> &mut Conn<DB> {
        let Parts { conn, seen, .. } = self.parts();
        seen.unseen();
        conn
    }

    /// The hint for code that is moved over from SQLx's own transaction.
    #[doc(hidden)]
    #[expect(clippy::should_implement_trait, reason = "nobody can call it")]
    pub fn as_mut(&mut self) -> &mut Conn<DB>
    where
        Self: LendsByAsMut,
    {
        self.connection()
    }

    /// Reports to the transaction an error that came from the [`connection`](Self::connection) it lent.
    ///
    /// The error may be one of SQLx's or any that has it among its [sources](StdError::source); others are about
    /// something else.
    pub fn saw(&mut self, error: &(dyn StdError + 'static)) {
        if let Some(error) = sqlx_behind(error) {
            self.parts().seen.saw(error);
        }
    }
}

impl<DB: Engine, O, Held> Tx<'static, DB, O, Held> {
    #[inline]
    pub(crate) fn owning(session: Session<'static, DB>) -> Self {
        Self::of(TxSession::Owned(Box::new(session)))
    }

    #[inline]
    pub(crate) fn into_session(self) -> Session<'static, DB> {
        self.session.into_session()
    }
}

impl<DB: Engine, O, Held> fmt::Debug for Tx<'_, DB, O, Held> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("transaction", &self.session).finish_non_exhaustive()
    }
}
