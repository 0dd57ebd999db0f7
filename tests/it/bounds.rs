//! Nothing is retried for ever: attempts, time, deadline, budget, pool.

use crate::{
    remedies::raise,
    support::{AppError, Attempts, Shop, credit, until},
};
use diesel_async::SimpleAsyncConnection;
use std::time::{Duration, Instant};
use txsafe_diesel::{Budget, Cause, ErrorKind, GiveUp, RetryPolicy, TxOptions};

#[tokio::test]
async fn attempts_are_bounded_and_the_report_tells_of_all() {
    let shop = Shop::open("attempts").await;
    let attempts = Attempts::default();
    let options = TxOptions::new().retry(RetryPolicy::new().max_attempts(3));
    let failed = shop.db.with(options).transaction("always", async |mut tx| {
        attempts.is_first();
        credit(&mut tx, 1, 1).await?;
        raise(&mut tx, "40P01").await?;
        Ok::<_, AppError>(())
    });
    assert!(matches!(failed.await, Err(AppError::Opaque)), "the closure's own");
    let report = shop.report();
    assert_eq!(report.gave_up, Some(GiveUp::Attempts(3)));
    assert_eq!(attempts.count(), 3);
    assert!(report.failures.iter().all(|attempt| attempt.cause == Cause::Deadlock));
    assert!(report.failures.iter().all(|attempt| attempt.failure.statement().is_some()));
    let trail: Vec<_> = report.trail.statements().map(|s| s.sql.as_str()).collect();
    assert!(trail[0].starts_with("UPDATE \"accounts\""), "{trail:?}");
    assert!(trail[1].starts_with("DO $$"), "{trail:?}");
    assert!(!report.trail.to_string().contains("binds"), "no bind values");
}

#[tokio::test]
async fn an_empty_budget_ends_at_the_first_failure() {
    let shop = Shop::with("budget", 4, |builder| builder.budget(Budget::new(8))).await;
    let attempts = Attempts::default();
    let call = async || {
        let failed = shop.db.transaction("always", async |mut tx| {
            attempts.is_first();
            raise(&mut tx, "40P01").await?;
            Ok::<_, AppError>(())
        });
        failed.await.unwrap_err();
        shop.report()
    };
    let report = call().await;
    assert_eq!(report.gave_up, Some(GiveUp::Budget));
    assert_eq!(attempts.count(), 2, "8 tokens are worth one deadlock");
    call().await;
    assert_eq!(attempts.count(), 3, "then none");
    assert!(report.to_string().contains("budget"), "{report}");
    for _ in 0..2 {
        let committed = shop.db.transaction("well", async |_tx| Ok::<_, AppError>(()));
        committed.await.unwrap();
    }
    assert_eq!(shop.db.budget().tokens(), 8, "successes earn it back");
}

#[tokio::test]
async fn a_deadline_cuts_statements_attempts_and_pauses() {
    let shop = Shop::open("deadline").await;
    let start = Instant::now();
    let options = TxOptions::new().deadline(start + Duration::from_millis(150));
    let slow = shop.db.with(options).transaction("slow statement", async |mut tx| {
        tx.batch_execute("SELECT pg_sleep(60)").await?;
        Ok::<_, AppError>(())
    });
    let error = slow.await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::DeadlineExceeded, "{error}");

    let options = TxOptions::new().timeout(Duration::from_millis(50));
    let slow = shop.db.with(options).transaction("slow closure", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        std::future::pending::<()>().await;
        Ok::<_, AppError>(())
    });
    let error = slow.await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::DeadlineExceeded);
    until("the end of the locks", async || shop.busy().await == 0).await;
    assert_eq!(shop.balance_of(1).await, 100);

    let pauses = RetryPolicy::new().max_elapsed(Duration::from_secs(60));
    let pauses = pauses.pauses(|| std::iter::repeat(Duration::from_secs(20)));
    let options = TxOptions::new().timeout(Duration::from_secs(5)).retry(pauses);
    let failed = shop.db.with(options).transaction("long pause", async |mut tx| {
        raise(&mut tx, "40P01").await?;
        Ok::<_, AppError>(())
    });
    failed.await.unwrap_err();
    assert_eq!(shop.report().gave_up, Some(GiveUp::Deadline));
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_pool_of_one_whose_connection_is_taken() {
    let shop = Shop::with("pool_of_one", 1, |builder| {
        builder
            .checkout_timeout(Duration::from_millis(30))
            .retry(RetryPolicy::new().max_attempts(2))
    })
    .await;
    let taken = shop.db.pool().get().await.unwrap();
    let call = async || {
        let call = shop.db.transaction("waits", async |_tx| Ok::<_, AppError>(()));
        call.await
    };
    let error = call().await.unwrap_err().ours();
    assert_eq!(error.gave_up(), Some(GiveUp::Attempts(2)));
    assert_eq!(error.cause(), Some(Cause::NoConnection));
    assert!(error.to_string().contains("the pool's one connection is in use"), "{error}");
    drop(taken);
    call().await.unwrap();
}

#[tokio::test]
async fn pauses_hold_no_connection() {
    let shop = Shop::with("pause_free", 1, |builder| builder).await;
    let pool = shop.db.pool().clone();
    // The pause is taken from a sequence that looks at the pool of one when it is asked: after the rollback.
    let free = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&free);
    let pauses = RetryPolicy::new().pauses(move || {
        let (pool, seen) = (pool.clone(), std::sync::Arc::clone(&seen));
        std::iter::repeat_with(move || {
            seen.store(pool.status().available == 1, std::sync::atomic::Ordering::Relaxed);
            Duration::from_millis(1)
        })
    });
    let attempts = Attempts::default();
    let committed =
        shop.db.with(TxOptions::new().retry(pauses)).transaction("t", async |mut tx| {
            if attempts.is_first() {
                raise(&mut tx, "40P01").await?;
            }
            Ok::<_, AppError>(())
        });
    committed.await.unwrap();
    assert!(free.load(std::sync::atomic::Ordering::Relaxed));
}

#[tokio::test]
async fn the_first_lock_timeout_learns_and_the_last_is_the_configured_one() {
    let shop = Shop::open("adaptive").await;
    for _ in 0..20 {
        let quick = shop.db.transaction("quick", async |mut tx| {
            credit(&mut tx, 1, 1).await?;
            Ok::<_, AppError>(())
        });
        quick.await.unwrap();
    }
    shop.watcher
        .batch_execute("BEGIN; UPDATE accounts SET balance = 1 WHERE id = 1")
        .await
        .unwrap();
    let options = TxOptions::new()
        .lock_timeout(Duration::from_millis(200))
        .retry(RetryPolicy::new().max_attempts(4));
    let blocked = shop.db.with(options).transaction("quick", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        Ok::<_, AppError>(())
    });
    blocked.await.unwrap_err();
    let failures = shop.report().failures;
    let timeouts: Vec<_> = failures.iter().map(|attempt| attempt.lock_timeout.unwrap()).collect();
    assert!(timeouts[0] < Duration::from_millis(150), "{timeouts:?}");
    assert!(timeouts.is_sorted(), "{timeouts:?}");
    assert_eq!(timeouts[3], Duration::from_millis(200));
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_cancellation_that_the_lock_timeout_caused_is_tried_again() {
    let shop = Shop::open("unnoted").await;
    let options =
        TxOptions::new().lock_timeout(Duration::from_millis(200)).adaptive_lock_timeout(false);
    for (seconds, attempts_made) in [(0.0, 1), (0.3, 2), (1.0, 1)] {
        let attempts = Attempts::default();
        let cancelled = format!(
            "DO $$ BEGIN PERFORM pg_sleep({seconds}) /* for update */; RAISE query_canceled; END $$"
        );
        let _result = shop
            .db
            .with(options.clone())
            .transaction("unnoted", async |mut tx| {
                credit(&mut tx, 1, 1).await?;
                if attempts.is_first() {
                    tx.batch_execute(&cancelled).await?;
                }
                Ok::<_, AppError>(())
            })
            .await;
        assert_eq!(attempts.count(), attempts_made, "cancelled after {seconds} s");
    }
}
