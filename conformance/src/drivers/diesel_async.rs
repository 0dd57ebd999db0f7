//! diesel-async.

use super::{AnyConnection, Call, Database, Setup, asynchronous::Play};
use crate::{
    error::AppError,
    script::{Script, Step},
    shop::{accounts, counters},
};
use diesel::prelude::*;
use diesel_async::{
    AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    pooled_connection::{
        PoolError,
        deadpool::{Hook, HookError, Object, Pool},
    },
};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use txsafe_diesel::{Database as Db, Driver, Tx, manager};

pub(super) fn open(url: &str, connections: u32, service: &str, setup: Setup) -> Arc<dyn Database> {
    let mut pool = Pool::builder(manager(url)).max_size(connections as usize);
    if let Some(sql) = setup.on_connect {
        pool = pool.post_create(hook(sql));
    }
    if let Some(sql) = setup.on_checkout {
        pool = pool.pre_recycle(hook(sql));
    }
    let pool = pool.build();
    let pool = pool.unwrap_or_else(|error| panic!("a pool without timeouts: {error}"));
    Arc::new(setup.of(Db::builder(pool).service(service)))
}

fn hook(sql: &'static str) -> Hook<AsyncPgConnection> {
    Hook::async_fn(move |conn: &mut AsyncPgConnection, _metrics| {
        Box::pin(async move {
            let ran = conn.batch_execute(sql).await;
            ran.map_err(|error| HookError::Backend(PoolError::QueryError(error)))
        })
    })
}

impl Play for Driver {
    fn play<'t>(
        tx: &'t mut Tx<'_>,
        steps: &'t [Step],
        script: &'t Script,
    ) -> BoxFuture<'t, Result<(), AppError>> {
        Box::pin(async move {
            for step in steps {
                match step {
                    Step::Credit(id, amount) => {
                        diesel::update(accounts::table.find(id))
                            .set(accounts::balance.eq(accounts::balance + amount))
                            .execute(tx)
                            .await?;
                    }
                    Step::Sql(sql) | Step::Lent(sql) => tx.batch_execute(sql).await?,
                    Step::Swallow(sql) => drop(tx.batch_execute(sql).await),
                    Step::Outbox(message) => {
                        script.wrote(tx.outbox_message(message.clone()).await?);
                    }
                    Step::Savepoint(steps) => {
                        let body = async |mut tx: Tx<'_>| Self::play(&mut tx, steps, script).await;
                        // The script swallows the savepoint's error; the connection still reports the failure behind it.
                        drop(tx.savepoint(body).await);
                    }
                    Step::UpsertListed(ids) => {
                        upsert!(ids).execute(tx).await?;
                    }
                    Step::UpsertMany(ids) => {
                        let ids = ids.iter().copied();
                        tx.upsert_many(
                            ids,
                            |id| *id,
                            async |(mut tx, ids): (Tx<'_>, Vec<i32>)| {
                                upsert!(ids).execute(&mut tx).await?;
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
                            async |(mut tx, id): (Tx<'_>, i32)| {
                                let update = diesel::update(counters::table.find(id));
                                update
                                    .set(counters::n.eq(counters::n + 1))
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
        db: &'t Db,
        before: &'static str,
        call: Call,
        script: &'t Script,
        after: &'static str,
    ) -> BoxFuture<'t, Result<(), AppError>> {
        Box::pin(async move {
            let mut conn = taken(db.pool()).await?;
            conn.batch_execute(before).await?;
            let body =
                async |mut tx: Tx<'_>| Self::play(&mut tx, script.next_attempt(), script).await;
            let result = db.with(call.options).transaction_on(&mut conn, call.name, body).await;
            drop(conn.batch_execute(after).await);
            result
        })
    }

    fn leave<'t>(
        pool: &'t Pool<AsyncPgConnection>,
        sql: &'static str,
    ) -> BoxFuture<'t, Result<(), AppError>> {
        Box::pin(async move { Ok(taken(pool).await?.batch_execute(sql).await?) })
    }

    fn hold(pool: &Pool<AsyncPgConnection>) -> BoxFuture<'_, Result<AnyConnection, AppError>> {
        Box::pin(async move { Ok(Box::new(taken(pool).await?) as AnyConnection) })
    }
}

async fn taken(pool: &Pool<AsyncPgConnection>) -> Result<Object<AsyncPgConnection>, AppError> {
    pool.get().await.map_err(|_| AppError::Opaque)
}
