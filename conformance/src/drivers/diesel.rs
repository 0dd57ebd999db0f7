//! Diesel's blocking connections, over r2d2.

use super::{AnyConnection, Call, Database, Setup};
use crate::{
    error::AppError,
    script::{Script, Step},
    shop::{accounts, counters},
};
use diesel::{
    PgConnection,
    connection::SimpleConnection,
    prelude::*,
    r2d2::{ConnectionManager, CustomizeConnection, Error as PoolError},
};
use futures_util::future::BoxFuture;
use std::{future::ready, ops::ControlFlow, panic::resume_unwind, sync::Arc};
use tokio::{runtime::Handle, task::spawn_blocking};
use txsafe::{Keyed, RunningTransaction};
use txsafe_diesel::blocking::{Database as Db, Tx, pool_builder};

pub(super) fn open(url: &str, connections: u32, service: &str, setup: Setup) -> Arc<dyn Database> {
    let manager = ConnectionManager::<PgConnection>::new(url);
    let mut pool = pool_builder().max_size(connections).min_idle(Some(0));
    if let Some(sql) = setup.on_connect {
        pool = pool.connection_customizer(Box::new(OnConnect(sql)));
    }
    let pool = pool.build_unchecked(manager);
    Arc::new(setup.of(Db::builder(pool).service(service)))
}

/// Runs SQL on each new connection.
#[derive(Debug)]
struct OnConnect(&'static str);

impl CustomizeConnection<PgConnection, PoolError> for OnConnect {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), PoolError> {
        conn.batch_execute(self.0).map_err(PoolError::QueryError)
    }
}

impl Database for Db {
    fn run(&self, call: Call, script: Script) -> BoxFuture<'_, Result<Keyed<()>, AppError>> {
        let db = self.clone();
        let runtime = Handle::current();
        if call.inline {
            return Box::pin(async move { run(&db, call, &script, &runtime) });
        }
        on_a_thread(move || run(&db, call, &script, &runtime))
    }

    fn run_on(
        &self,
        before: &'static str,
        call: Call,
        script: Script,
        after: &'static str,
    ) -> BoxFuture<'_, Result<(), AppError>> {
        let (db, runtime) = (self.clone(), Handle::current());
        on_a_thread(move || {
            let mut conn = db.pool().get().map_err(|_| AppError::Opaque)?;
            conn.batch_execute(before)?;
            let body = |mut tx: Tx<'_>| play(&mut tx, script.next_attempt(), &script, &runtime);
            let result = db.with(call.options).transaction_on(&mut conn, call.name, body);
            drop(conn.batch_execute(after));
            result
        })
    }

    fn leave(&self, sql: &'static str) -> BoxFuture<'_, Result<(), AppError>> {
        let db = self.clone();
        on_a_thread(move || {
            let mut conn = db.pool().get().map_err(|_| AppError::Opaque)?;
            Ok(conn.batch_execute(sql)?)
        })
    }

    fn hold(&self) -> BoxFuture<'_, Result<AnyConnection, AppError>> {
        let held = self.pool().get().map(|conn| Box::new(conn) as AnyConnection);
        Box::pin(ready(held.map_err(|_| AppError::Opaque)))
    }

    fn running(&self) -> Vec<RunningTransaction> {
        Self::running(self)
    }
}

/// Where it may block.
fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AppError> + Send + 'static,
) -> BoxFuture<'static, Result<T, AppError>> {
    let thread = spawn_blocking(work);
    Box::pin(async move {
        match thread.await {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic.into_panic()),
        }
    })
}

fn run(db: &Db, call: Call, script: &Script, runtime: &Handle) -> Result<Keyed<()>, AppError> {
    if call.by_hand {
        return run_by_hand(db, call, script, runtime);
    }
    let db = db.with(call.options.clone());
    let body = |mut tx: Tx<'_>| play(&mut tx, script.next_attempt(), script, runtime);
    match &call.key {
        Some(key) => call.keyed(db, key).transaction(call.name, body),
        None if call.once => db.transaction_once(call.name, body).map(Keyed::Ran),
        None => db.transaction(call.name, body).map(Keyed::Ran),
    }
}

/// Runs a script in a transaction that is begun and ended by hand.
fn run_by_hand(
    db: &Db,
    call: Call,
    script: &Script,
    runtime: &Handle,
) -> Result<Keyed<()>, AppError> {
    let db = db.with(call.options.clone());
    if call.once {
        let mut tx = db.begin(call.name)?;
        return match play(&mut tx, script.next_attempt(), script, runtime) {
            Ok(()) => Ok(Keyed::Ran(tx.commit()?)),
            Err(error) => {
                tx.rollback()?;
                Err(error)
            }
        };
    }
    let Some(key) = &call.key else {
        let mut attempts = db.attempts(call.name);
        loop {
            let mut tx = attempts.begin()?;
            let result = play(&mut tx, script.next_attempt(), script, runtime);
            if let ControlFlow::Break(result) = attempts.finish(tx, result) {
                return result.map(Keyed::Ran);
            }
        }
    };
    let mut attempts = call.keyed(db, key).attempts(call.name);
    loop {
        let Keyed::Ran(mut tx) = attempts.begin()? else {
            return Ok(Keyed::AlreadyCommitted);
        };
        let result = play(&mut tx, script.next_attempt(), script, runtime);
        if let ControlFlow::Break(result) = attempts.finish(tx, result) {
            return result.map(Keyed::Ran);
        }
    }
}

/// Plays steps on a transaction, and awaits on `runtime`.
///
/// # Errors
/// What a step returned.
///
/// # Panics
/// In [`Step::Panic`].
pub fn play(
    tx: &mut Tx<'_>,
    steps: &[Step],
    script: &Script,
    runtime: &Handle,
) -> Result<(), AppError> {
    for step in steps {
        match step {
            Step::Credit(id, amount) => {
                diesel::update(accounts::table.find(id))
                    .set(accounts::balance.eq(accounts::balance + amount))
                    .execute(&mut **tx)?;
            }
            Step::Sql(sql) | Step::Lent(sql) => tx.batch_execute(sql)?,
            Step::Swallow(sql) => drop(tx.batch_execute(sql)),
            Step::Outbox(message) => script.wrote(tx.outbox_message(message.clone())?),
            Step::Savepoint(steps) => {
                // The script swallows the savepoint's error; the connection still reports the failure behind it.
                drop(tx.savepoint(|mut tx| play(&mut tx, steps, script, runtime)));
            }
            Step::UpsertListed(ids) => {
                upsert!(ids).execute(&mut **tx)?;
            }
            Step::UpsertMany(ids) => {
                tx.upsert_many(
                    ids.iter().copied(),
                    |id| *id,
                    |(mut tx, ids)| {
                        upsert!(ids).execute(&mut *tx)?;
                        Ok::<_, AppError>(())
                    },
                )?;
            }
            Step::UpdateMany(ids) => {
                tx.update_many(
                    ids.iter().copied(),
                    |id| *id,
                    |(mut tx, id)| {
                        let update = diesel::update(counters::table.find(id));
                        update.set(counters::n.eq(counters::n + 1)).execute(&mut *tx)?;
                        Ok::<_, AppError>(())
                    },
                )?;
            }
            Step::AfterCommit(note) => {
                let (script, note) = (script.clone(), *note);
                tx.after_commit(move || script.note(note));
            }
            Step::AfterRollback(note) => {
                let (script, note) = (script.clone(), *note);
                tx.after_rollback(move || script.note(note));
            }
            Step::RollbackOnly => tx.set_rollback_only(),
            Step::Await(call) => runtime.block_on(call())?,
            Step::Fail(message) => return Err(AppError::Own(message)),
            Step::Panic => panic!("on purpose"),
        }
    }
    Ok(())
}
