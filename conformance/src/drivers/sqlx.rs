//! SQLx, on PostgreSQL and on SQLite.

use super::{AnyConnection, Call, Database, Setup, asynchronous::Play};
use crate::{
    error::AppError,
    script::{Script, Step},
};
use futures_util::future::BoxFuture;
use sqlx::{
    AssertSqlSafe, Encode, PgPool, QueryBuilder, SqlitePool, Type, query, raw_sql,
    sqlite::SqlitePoolOptions,
};
use std::sync::Arc;
use txsafe::NewMessage;
use txsafe_sqlx::{Database as Db, Driver, PoolHooks, Tx, pool_options_with, sqlite};

pub(super) fn open(url: &str, connections: u32, service: &str, setup: Setup) -> Arc<dyn Database> {
    let mut hooks = PoolHooks::new();
    if let Some(sql) = setup.on_connect {
        hooks = hooks.after_connect(move |conn, _| {
            Box::pin(async move { raw_sql(sql).execute(conn).await.map(drop) })
        });
    }
    if let Some(sql) = setup.on_checkout {
        hooks = hooks.before_acquire(move |conn, _| {
            Box::pin(async move { raw_sql(sql).execute(conn).await.map(|_| true) })
        });
    }
    let pool = pool_options_with(hooks).max_connections(connections).connect_lazy(url);
    let pool = pool.unwrap_or_else(|error| panic!("a URL of the test kit's: {error}"));
    Arc::new(setup.of(Db::builder(pool).service(service)))
}

/// A database in a file of SQLite's.
///
/// # Errors
/// If it can't be opened.
pub async fn open_sqlite(
    url: &str,
    connections: u32,
    setup: Setup,
) -> Result<Arc<dyn Database>, sqlx::Error> {
    let pool = SqlitePoolOptions::new().max_connections(connections).connect(url).await?;
    Ok(Arc::new(setup.of(sqlite::Database::builder(pool))))
}

/// Counts once for each of these counters.
fn upsert<DB>(ids: &[i32]) -> QueryBuilder<DB>
where
    DB: sqlx::Database,
    i32: for<'q> Encode<'q, DB> + Type<DB>,
{
    let mut upsert = QueryBuilder::new("INSERT INTO counters (id, n) ");
    upsert.push_values(ids.iter().copied(), |mut row, id| {
        row.push_bind(id).push_bind(1);
    });
    upsert.push(" ON CONFLICT (id) DO UPDATE SET n = counters.n + 1");
    upsert
}

/// How steps are played on one database of SQLx: their words are the same on all of them.
macro_rules! play_on {
    ($driver:ty, $db:ty, $tx:ident, $pool:ty, $outbox:expr) => {
        impl Play for $driver {
            fn play<'t>(
                tx: &'t mut $tx<'_>,
                steps: &'t [Step],
                script: &'t Script,
            ) -> BoxFuture<'t, Result<(), AppError>> {
                Box::pin(async move {
                    for step in steps {
                        match step {
                            Step::Credit(id, amount) => {
                                query("UPDATE accounts SET balance = balance + $2 WHERE id = $1")
                                    .bind(id)
                                    .bind(amount)
                                    .execute(&mut *tx)
                                    .await?;
                            }
                            Step::Sql(sql) => {
                                raw_sql(AssertSqlSafe(sql.as_str())).execute(&mut *tx).await?;
                            }
                            Step::Swallow(sql) => {
                                drop(raw_sql(AssertSqlSafe(sql.as_str())).execute(&mut *tx).await);
                            }
                            Step::Lent(sql) => {
                                raw_sql(AssertSqlSafe(sql.as_str()))
                                    .execute(tx.connection())
                                    .await?;
                            }
                            Step::Outbox(message) => {
                                $outbox(&mut *tx, message, script).await?;
                            }
                            Step::Savepoint(steps) => {
                                let body = async |mut tx: $tx<'_>| {
                                    Self::play(&mut tx, steps, script).await
                                };
                                // The script swallows the savepoint's error; the connection still reports the failure behind it.
                                drop(tx.savepoint(body).await);
                            }
                            Step::UpsertListed(ids) => {
                                upsert(ids).build().execute(&mut *tx).await?;
                            }
                            Step::UpsertMany(ids) => {
                                let ids = ids.iter().copied();
                                tx.upsert_many(
                                    ids,
                                    |id| *id,
                                    async |(mut tx, ids): ($tx<'_>, Vec<i32>)| {
                                        upsert(&ids).build().execute(&mut tx).await?;
                                        Ok::<_, AppError>(())
                                    },
                                )
                                .await?;
                            }
                            Step::UpdateMany(ids) => {
                                let ids = ids.iter().copied();
                                tx.update_many(
                                    ids,
                                    |id| *id,
                                    async |(mut tx, id): ($tx<'_>, i32)| {
                                        query("UPDATE counters SET n = n + 1 WHERE id = $1")
                                            .bind(id)
                                            .execute(&mut tx)
                                            .await?;
                                        Ok::<_, AppError>(())
                                    },
                                )
                                .await?;
                            }
                            Step::AfterCommit(note) => {
                                let (script, note) = (script.clone(), *note);
                                tx.after_commit(async move || script.note(note));
                            }
                            Step::AfterRollback(note) => {
                                let (script, note) = (script.clone(), *note);
                                tx.after_rollback(async move || script.note(note));
                            }
                            Step::RollbackOnly => tx.set_rollback_only(),
                            Step::Await(call) => call().await?,
                            Step::Fail(message) => return Err(AppError::Own(message)),
                            Step::Panic => panic!("on purpose"),
                        }
                    }
                    Ok(())
                })
            }

            fn run_on<'t>(
                db: &'t $db,
                before: &'static str,
                call: Call,
                script: &'t Script,
                after: &'static str,
            ) -> BoxFuture<'t, Result<(), AppError>> {
                Box::pin(async move {
                    let mut conn = db.pool().acquire().await?;
                    raw_sql(before).execute(&mut *conn).await?;
                    let body = async |mut tx: $tx<'_>| {
                        Self::play(&mut tx, script.next_attempt(), script).await
                    };
                    let result =
                        db.with(call.options).transaction_on(&mut conn, call.name, body).await;
                    drop(raw_sql(after).execute(&mut *conn).await);
                    result
                })
            }

            fn leave<'t>(
                pool: &'t $pool,
                sql: &'static str,
            ) -> BoxFuture<'t, Result<(), AppError>> {
                Box::pin(async move {
                    let mut conn = pool.acquire().await?;
                    raw_sql(sql).execute(&mut *conn).await?;
                    Ok(())
                })
            }

            fn hold(pool: &$pool) -> BoxFuture<'_, Result<AnyConnection, AppError>> {
                Box::pin(async move { Ok(Box::new(pool.acquire().await?) as AnyConnection) })
            }
        }
    };
}

play_on!(Driver, Db, Tx, PgPool, async |tx: &mut Tx<'_>, message: &NewMessage, script: &Script| {
    script.wrote(tx.outbox_message(message.clone()).await?);
    Ok::<_, AppError>(())
});

use sqlite::Tx as SqliteTx;

play_on!(
    sqlite::Driver,
    sqlite::Database,
    SqliteTx,
    SqlitePool,
    async |_: &mut SqliteTx<'_>, _: &NewMessage, _: &Script| {
        Err::<(), _>(AppError::Own("SQLite has no outbox yet"))
    }
);
