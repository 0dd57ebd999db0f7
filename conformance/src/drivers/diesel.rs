//! Diesel's blocking connections, over r2d2.

use super::{Call, Database};
use crate::{
    error::AppError,
    script::{Script, Step},
    shop::accounts,
};
use diesel::{
    PgConnection,
    connection::SimpleConnection,
    prelude::*,
    r2d2::{ConnectionManager, Pool},
};
use futures_util::future::BoxFuture;
use std::{panic::resume_unwind, sync::Arc};
use tokio::{runtime::Handle, task::spawn_blocking};
use txsafe::{Keyed, guard::Policy};
use txsafe_diesel::blocking::{Database as Db, Tx, watched};

pub(super) fn open(url: &str, connections: u32, service: &str, guard: Policy) -> Arc<dyn Database> {
    let manager = ConnectionManager::<PgConnection>::new(url);
    let pool = watched(Pool::builder().max_size(connections).min_idle(Some(0)));
    let pool = pool.build_unchecked(manager);
    let db = Db::builder(pool).service(service).guard(guard).build();
    Arc::new(db.unwrap_or_else(|error| panic!("settings that can be meant: {error}")))
}

impl Database for Db {
    fn run(&self, call: Call, script: Script) -> BoxFuture<'_, Result<Keyed<()>, AppError>> {
        let db = self.clone();
        let runtime = Handle::current();
        if call.inline {
            return Box::pin(async move { run(&db, call, &script, &runtime) });
        }
        let thread = spawn_blocking(move || run(&db, call, &script, &runtime));
        Box::pin(async move {
            match thread.await {
                Ok(result) => result,
                Err(panic) => resume_unwind(panic.into_panic()),
            }
        })
    }
}

fn run(db: &Db, call: Call, script: &Script, runtime: &Handle) -> Result<Keyed<()>, AppError> {
    let db = db.with(call.options);
    let body = |mut tx: Tx<'_>| play(&mut tx, script.next_attempt(), script, runtime);
    match call.key {
        Some(key) => db.idempotency_key(&key).transaction(call.name, body),
        None if call.once => db.transaction_once(call.name, body).map(Keyed::Ran),
        None => db.transaction(call.name, body).map(Keyed::Ran),
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
            Step::Sql(sql) => tx.batch_execute(sql)?,
            Step::Swallow(sql) => drop(tx.batch_execute(sql)),
            Step::Outbox(message) => script.wrote(tx.outbox_message(message.clone())?),
            Step::Savepoint(steps) => {
                // What it swallowed is its own affair, and what it failed by is told by the connection.
                drop(tx.savepoint(|mut tx| play(&mut tx, steps, script, runtime)));
            }
            Step::AfterCommit(note) => {
                let (script, note) = (script.clone(), *note);
                tx.after_commit(move || script.note(note));
            }
            Step::AfterRollback(note) => {
                let (script, note) = (script.clone(), *note);
                tx.after_rollback(move || script.note(note));
            }
            Step::Await(call) => runtime.block_on(call())?,
            Step::Fail(message) => return Err(AppError::Own(message)),
            Step::Panic => panic!("on purpose"),
        }
    }
    Ok(())
}
