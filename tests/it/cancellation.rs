//! The caller goes away, or the closure panics: nothing half-committed, no lock left, no connection in doubt.

use crate::support::{AppError, Shop, accounts, credit, until};
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures_util::FutureExt;
use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

/// Polls a future so many times, and then drops it.
struct Impatient<F> {
    future: Option<Pin<Box<F>>>,
    polls: u32,
}

impl<F: Future> Future for Impatient<F> {
    /// The output, or how it came that there is none.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            self.future = None;
            return Poll::Ready(None);
        }
        self.polls -= 1;
        let Some(future) = &mut self.future else { unreachable!("polled after its end") };
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.polls == 0 => {
                self.future = None;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

fn drop_after<F: Future>(polls: u32, future: F) -> Impatient<F> {
    Impatient { future: Some(Box::pin(future)), polls }
}

/// The server may have taken a lock of the session although nobody waits for the answer.
#[tokio::test]
async fn a_lock_whose_statement_was_dropped_is_not_given_back() {
    let shop = Shop::open("dropped_lock").await;
    let failed = shop.db.transaction("locked", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        drop_after(1, tx.batch_execute("SELECT pg_advisory_lock(20261128)")).await;
        Err::<(), _>(AppError::Opaque)
    });
    assert!(matches!(failed.await, Err(AppError::Opaque)));
    let is_free = "SELECT pg_try_advisory_lock(20261128)::int::bigint";
    until("the end of the session that held it", async || shop.ask(is_free).await == 1).await;
}

#[tokio::test]
async fn dropped_at_every_await_point() {
    let shop = Shop::with("dropped", 2, |builder| builder.verify_commit(true)).await;
    let mut dropped = 0;
    let mut total = 0;
    // Twice: once on connections that prepare their statements, and again on whatever is in the pool by then.
    for _round in 0..2 {
        for polls in 0.. {
            let transfer = shop.db.transaction("dropped", async |mut tx| {
                credit(&mut tx, 1, -1).await?;
                let inner = tx.savepoint(async |mut tx| {
                    credit(&mut tx, 2, 1).await?;
                    Ok::<_, AppError>(())
                });
                inner.await?;
                tokio::task::yield_now().await;
                accounts::table.count().get_result::<i64>(&mut tx).await?;
                Ok::<_, AppError>(())
            });
            let output = drop_after(polls, transfer).await;
            until("the end of the locks", async || shop.busy().await == 0).await;
            // The next user gets a clean connection, and its work isn't part of somebody else's.
            let sum = shop.db.transaction("next", async |mut tx| {
                let sums = accounts::table.select(diesel::dsl::sum(accounts::balance));
                let sum: Option<diesel::data_types::PgNumeric> = sums.get_result(&mut tx).await?;
                Ok::<_, AppError>(sum.is_some())
            });
            assert!(sum.await.unwrap());
            let (one, two) = (shop.balance_of(1).await, shop.balance_of(2).await);
            assert_eq!(one + two, 200, "half a transaction after {polls} polls");
            assert!(100 - one <= i64::from(total) + 1);
            total = (100 - one) as u32;
            if output.is_some() {
                break;
            }
            dropped += 1;
        }
    }
    assert!(dropped > 12, "only {dropped} await points seen");
}

#[tokio::test]
async fn dropped_while_it_waits_for_a_lock() {
    let shop = Shop::open("waiting").await;
    shop.watcher
        .batch_execute("BEGIN; UPDATE accounts SET balance = 1 WHERE id = 1")
        .await
        .unwrap();
    let stuck = tokio::spawn({
        let db = shop.db.clone();
        let options = txsafe_diesel::TxOptions::new().adaptive_lock_timeout(false);
        async move {
            db.with(options)
                .transaction("stuck", async |mut tx| {
                    credit(&mut tx, 2, 1).await?;
                    credit(&mut tx, 1, 1).await?;
                    Ok::<_, AppError>(())
                })
                .await
        }
    });
    until("the wait for the lock", async || shop.waiting().await == 1).await;
    stuck.abort();
    assert!(stuck.await.unwrap_err().is_cancelled());
    // The backend is cancelled although the lock it waits for is still held.
    until("the end of the wait", async || shop.busy().await == 0).await;
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!((shop.balance_of(1).await, shop.balance_of(2).await), (100, 100));
}

#[tokio::test]
async fn a_panic_goes_on_and_leaves_nothing() {
    let shop = Shop::with("panic", 1, |builder| builder).await;
    let panicking = shop.db.transaction("panics", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        if shop.url.is_empty() {
            return Ok(());
        }
        panic!("on purpose");
        #[expect(unreachable_code, reason = "names the error type")]
        Ok::<_, AppError>(())
    });
    let panic = AssertUnwindSafe(panicking).catch_unwind().await.unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    until("the end of the locks", async || shop.busy().await == 0).await;
    assert_eq!(shop.balance_of(1).await, 100);
    let next = shop.db.transaction("next", async |mut tx| {
        credit(&mut tx, 1, 2).await?;
        Ok::<_, AppError>(())
    });
    next.await.unwrap();
    assert_eq!(shop.balance_of(1).await, 102);
}

/// Whoever has the connection after a COMMIT whose caller went away changes its session, which the next transaction notices.
#[tokio::test]
async fn behind_a_commit_whose_caller_went_away_the_session_is_watched() {
    let shop = Shop::with("abandoned_commit", 1, |builder| builder).await;
    let sql = "
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock_shared(hashtext(current_schema)); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER wait AFTER UPDATE ON accounts DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION wait();
        SELECT pg_advisory_lock(hashtext(current_schema))";
    shop.watcher.batch_execute(sql).await.unwrap();
    let db = shop.db.clone();
    let commits = tokio::spawn(async move {
        db.transaction("commits", async |mut tx| {
            credit(&mut tx, 1, 1).await?;
            Ok::<_, AppError>(())
        })
        .await
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                 AND objid = hashtext(current_schema)::bit(32)::bigint";
    until("COMMIT", async || shop.ask(waits).await == 1).await;
    commits.abort();
    assert!(commits.await.unwrap_err().is_cancelled());
    shop.watcher
        .batch_execute("SELECT pg_advisory_unlock(hashtext(current_schema))")
        .await
        .unwrap();

    let mut conn = shop.db.pool().get().await.unwrap();
    conn.batch_execute("SET statement_timeout = '7s'").await.unwrap();
    drop(conn);
    let shown = shop.db.transaction("shows", async |mut tx| {
        let show =
            diesel::dsl::sql::<diesel::sql_types::Text>("current_setting('statement_timeout')");
        Ok::<_, AppError>(diesel::select(show).get_result::<String>(&mut tx).await?)
    });
    assert_eq!(shown.await.unwrap(), "7s");
    assert_eq!(shop.balance_of(1).await, 101);
}

#[tokio::test]
async fn a_statement_dropped_inside_is_waited_for_before_commit() {
    let shop = Shop::open("select").await;
    let committed = shop.db.transaction("select", async |mut tx| {
        let slow = tx.batch_execute("SELECT pg_sleep(0.05)");
        // Sent, and given up at once.
        assert!(drop_after(1, slow).await.is_none());
        credit(&mut tx, 1, 1).await?;
        let failing = tx.batch_execute("SELECT 1/0");
        assert!(drop_after(1, failing).await.is_none());
        Ok::<_, AppError>(())
    });
    let error = committed.await.unwrap_err().ours();
    assert!(error.is_rolled_back_at_commit(), "{error}");
    assert_eq!(error.sqlstate(), txsafe_diesel::SqlState::new("22012"));
    assert_eq!(shop.balance_of(1).await, 100);
    assert_eq!(shop.busy().await, 0);
}

#[tokio::test]
async fn a_connection_the_caller_holds_is_closed_in_doubt() {
    let shop = Shop::with("held_dropped", 1, |builder| builder).await;
    let mut conn = shop.db.pool().get().await.unwrap();
    for polls in 1..8 {
        let body = shop.db.transaction_on(&mut conn, "held", async |mut tx| {
            credit(&mut tx, 1, 1).await?;
            credit(&mut tx, 1, -1).await?;
            Ok::<_, AppError>(())
        });
        let output = drop_after(polls, body).await;
        until("the end of the locks", async || shop.busy().await == 0).await;
        if output.is_none() {
            // Nobody may go on with it.
            while conn.batch_execute("SELECT 1").await.is_ok() {}
            drop(conn);
            conn = shop.db.pool().get().await.unwrap();
            conn.batch_execute("SELECT 1").await.unwrap();
        }
    }
    assert_eq!(shop.balance_of(1).await, 100);
}
