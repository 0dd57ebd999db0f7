//! What drivers whose transactions are futures have in common: all but the words of their statements.

use super::{AnyConnection, Call, Database as AnyDatabase};
use crate::{
    error::AppError,
    script::{Script, Step},
};
use futures_util::future::BoxFuture;
use std::{ops::ControlFlow, time::Duration};
use tokio::time::timeout;
use txsafe::{Database, Keyed, NoOrder, RunningTransaction, Unlocked, driver::AsyncDriver};

/// How a driver plays steps.
pub(super) trait Play: AsyncDriver {
    /// Plays steps on a transaction.
    fn play<'t>(
        tx: &'t mut Self::Tx<'_, NoOrder, Unlocked>,
        steps: &'t [Step],
        script: &'t Script,
    ) -> BoxFuture<'t, Result<(), AppError>>;

    /// Runs a script on a connection that is held, and SQL before and after it.
    fn run_on<'t>(
        db: &'t Database<Self>,
        before: &'static str,
        call: Call,
        script: &'t Script,
        after: &'static str,
    ) -> BoxFuture<'t, Result<(), AppError>>
    where
        Self: Sized;

    /// Runs SQL on a connection of the pool.
    fn leave<'t>(pool: &'t Self::Pool, sql: &'static str) -> BoxFuture<'t, Result<(), AppError>>;

    /// Takes a connection of the pool.
    fn hold(pool: &Self::Pool) -> BoxFuture<'_, Result<AnyConnection, AppError>>;
}

impl<D: Play> AnyDatabase for Database<D> {
    fn run(&self, call: Call, script: Script) -> BoxFuture<'_, Result<Keyed<()>, AppError>> {
        Box::pin(async move {
            if call.by_hand {
                return run_by_hand(self, call, &script).await;
            }
            let db = self.with(call.options.clone());
            let body = async |mut tx: D::Tx<'_, NoOrder, Unlocked>| {
                D::play(&mut tx, script.next_attempt(), &script).await
            };
            match &call.key {
                Some(key) => call.keyed(db, key).transaction(call.name, body).await,
                None if call.once => db.transaction_once(call.name, body).await.map(Keyed::Ran),
                None => db.transaction(call.name, body).await.map(Keyed::Ran),
            }
        })
    }

    fn run_on(
        &self,
        before: &'static str,
        call: Call,
        script: Script,
        after: &'static str,
    ) -> BoxFuture<'_, Result<(), AppError>> {
        Box::pin(async move { D::run_on(self, before, call, &script, after).await })
    }

    fn leave(&self, sql: &'static str) -> BoxFuture<'_, Result<(), AppError>> {
        D::leave(self.pool(), sql)
    }

    fn hold(&self) -> BoxFuture<'_, Result<AnyConnection, AppError>> {
        D::hold(self.pool())
    }

    fn running(&self) -> Vec<RunningTransaction> {
        Self::running(self)
    }
}

/// Plays the next attempt. The loop of attempts doesn't end a statement whose answer never comes, so the caller has to.
async fn play<D: Play>(
    tx: &mut D::Tx<'_, NoOrder, Unlocked>,
    script: &Script,
) -> Result<(), AppError> {
    const LOST_AFTER: Duration = Duration::from_secs(5);
    let played = timeout(LOST_AFTER, D::play(tx, script.next_attempt(), script)).await;
    played.unwrap_or(Err(AppError::Own("the caller gave up")))
}

/// Runs a script in a transaction that is begun and ended by hand.
async fn run_by_hand<D: Play>(
    db: &Database<D>,
    call: Call,
    script: &Script,
) -> Result<Keyed<()>, AppError> {
    let db = db.with(call.options.clone());
    if call.once {
        let mut tx = db.begin(call.name).await?;
        return match play::<D>(&mut tx, script).await {
            Ok(()) => Ok(Keyed::Ran(tx.commit().await?)),
            Err(error) => {
                tx.rollback().await?;
                Err(error)
            }
        };
    }
    let Some(key) = &call.key else {
        let mut attempts = db.attempts(call.name);
        loop {
            let mut tx = attempts.begin().await?;
            let result = play::<D>(&mut tx, script).await;
            if let ControlFlow::Break(result) = attempts.finish(tx, result).await {
                return result.map(Keyed::Ran);
            }
        }
    };
    let mut attempts = call.keyed(db, key).attempts(call.name);
    loop {
        let Keyed::Ran(mut tx) = attempts.begin().await? else {
            return Ok(Keyed::AlreadyCommitted);
        };
        let result = play::<D>(&mut tx, script).await;
        if let ControlFlow::Break(result) = attempts.finish(tx, result).await {
            return result.map(Keyed::Ran);
        }
    }
}
