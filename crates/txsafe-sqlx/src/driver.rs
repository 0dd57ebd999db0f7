//! What the core's `Database` is made of, for SQLx.

use crate::{
    checkout::checkout,
    failure::{failure_of, of_connecting},
    held::Held,
    row::Row,
    session::Session,
    tx::Tx,
};
use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row as _};
use std::{future::Future, sync::Arc, time::Duration};
use txsafe::{
    Error, Failure, LockOrder, NoOrder, PoolState, Unlocked,
    driver::{
        Account, AsyncDriver, AsyncHook, Dialect, HasAccount, HeldLocks, LockCall, LockStatement,
        Locks, Postgres, Question, Reads, SessionOptions,
    },
};

/// A database, reached through a [`PgPool`], however that was built.
pub type Database<O = NoOrder> = txsafe::Database<Driver, O>;

/// A [`Database`] with the options of one call; made by [`Database::with`].
pub type Configured<'d, O = NoOrder> = txsafe::Configured<'d, Database<O>>;

/// A [`Database`] with an idempotency key; made by [`Database::idempotency_key`].
pub type WithKey<'d, O = NoOrder> = txsafe::WithKey<'d, Database<O>>;

/// SQLx on PostgreSQL.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "it is never made")]
pub enum Driver {}

impl Locks for Driver {
    type Tx<'c, O: LockOrder, Held> = Tx<'c, O, Held>;

    fn held<'t, O: LockOrder, Held>(tx: &'t mut Self::Tx<'_, O, Held>) -> &'t mut HeldLocks {
        &mut tx.account.locks
    }

    fn with_rank<'c, O: LockOrder, Held, Other>(
        tx: Self::Tx<'c, O, Held>,
    ) -> Self::Tx<'c, O, Other> {
        tx.with_rank()
    }

    fn call<'t, O: LockOrder, Held>(
        tx: &'t mut Self::Tx<'_, O, Held>,
        call: LockCall,
    ) -> BoxFuture<'t, Result<Option<String>, Error>> {
        Box::pin(async move {
            let query = sqlx::query_scalar(AssertSqlSafe(call.sql())).bind(call.parameter());
            let answer = query.fetch_optional(tx).await.map_err(|error| failure_of(&error))?;
            Ok(answer.flatten())
        })
    }
}

impl HasAccount for Driver {
    type Hook = AsyncHook;

    fn account<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> &'t mut Account<AsyncHook> {
        tx.account
    }
}

impl<T: Row> Reads<T> for Driver {
    fn read<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
        statement: LockStatement,
    ) -> BoxFuture<'t, Result<Vec<T>, Error>> {
        Box::pin(async move {
            let sql = format!("SELECT *{}$1{}", statement.from(), statement.rest());
            let query = sqlx::query_as(AssertSqlSafe(sql)).bind(statement.keys());
            query.fetch_all(tx).await.map_err(|error| failure_of(&error).into())
        })
    }
}

impl AsyncDriver for Driver {
    type Pool = PgPool;
    type Held<'a> = Held<'a>;
    type Session<'a> = Session<'a>;
    const DIALECT: &'static dyn Dialect = &Postgres;
    const SHOWS_BIND_VALUES: bool = false;

    fn state(pool: &PgPool) -> PoolState {
        let [size, max_size] = [pool.size(), pool.options().get_max_connections()]
            .map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        PoolState::new(size, max_size, pool.num_idle(), None)
    }

    async fn checkout<'a>(
        pool: &'a PgPool,
        options: SessionOptions,
    ) -> Result<Session<'a>, Failure> {
        let alarm = Arc::default();
        let conn = checkout(pool, &alarm, options).await?;
        Ok(Session::pooled(conn, alarm, options))
    }

    fn tx<'c, O: LockOrder>(session: &'c mut Session<'_>) -> Self::Tx<'c, O, Unlocked> {
        session.tx()
    }

    async fn ask_beside(pool: &PgPool, question: Question<'_>) -> Result<Option<String>, Failure> {
        let connected = PgConnection::connect_with(&pool.connect_options()).await;
        let mut conn = connected.map_err(|error| of_connecting(&error))?;
        let asked = conn.fetch_optional(AssertSqlSafe(question.inlined())).await;
        // Whatever it said, the connection was made for this alone.
        drop(conn.close().await);
        let row = asked.map_err(|error| failure_of(&error))?;
        row.map_or(Ok(None), |row| row.try_get("answer").map_err(|error| failure_of(&error)))
    }

    fn sleep(pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(pause)
    }
}
