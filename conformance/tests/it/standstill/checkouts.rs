//! Checkouts that never end.

use super::{assert_is, deadpool, failed_by, schema, sqlx_pool, watching};
use diesel::{PgConnection, connection::SimpleConnection, r2d2::ConnectionManager};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection, pooled_connection::deadpool::Pool};
use sqlx::query;
use std::{sync::Arc, time::Duration};
use tokio::sync::Barrier;
use txsafe::guard::{Code, Severity};

#[tokio::test]
async fn of_all_holders_of_a_deadpool() {
    let schema = schema().await;
    let pool = deadpool(&schema, 2);
    let (policy, mut findings) = watching(Severity::Error);
    let db = txsafe_diesel::Database::builder(pool.clone()).guard(policy).build().unwrap();
    let all_hold_one = Arc::new(Barrier::new(2));
    let report = |_| {
        let (db, pool, all_hold_one) = (db.clone(), pool.clone(), Arc::clone(&all_hold_one));
        tokio::spawn(async move {
            db.transaction("report", async |mut tx| {
                tx.batch_execute("SELECT 1").await?;
                all_hold_one.wait().await;
                pool.get().await?.batch_execute("SELECT 1").await?;
                anyhow::Ok(())
            })
            .await
        })
    };
    let reports = (0..2).map(report).collect();
    assert_eq!(failed_by(Code::EndlessCheckout, reports).await, 1, "the other one goes on");
    let found = findings.recv().await.unwrap();
    assert_is(&found, Code::EndlessCheckout, "checkouts.rs", line!() - 9);
    assert!(found.what.contains("as do all who could give one back: \"report\" ("), "{found}");
}

#[tokio::test]
async fn of_all_holders_of_a_pool_of_sqlx() {
    let schema = schema().await;
    let pool = sqlx_pool(&schema, 2);
    let (policy, mut findings) = watching(Severity::Error);
    let db = txsafe_sqlx::Database::builder(pool.clone()).guard(policy).build().unwrap();
    let all_hold_one = Arc::new(Barrier::new(2));
    let report = |_| {
        let (db, pool, all_hold_one) = (db.clone(), pool.clone(), Arc::clone(&all_hold_one));
        tokio::spawn(async move {
            db.transaction("report", async |mut tx| {
                query("SELECT 1").execute(&mut tx).await?;
                all_hold_one.wait().await;
                query("SELECT 1").execute(&pool).await?;
                anyhow::Ok(())
            })
            .await
        })
    };
    let reports = (0..2).map(report).collect();
    assert_eq!(failed_by(Code::EndlessCheckout, reports).await, 1, "the other one goes on");
    let found = findings.recv().await.unwrap();
    assert_is(&found, Code::EndlessCheckout, "checkouts.rs", line!() - 9);
    assert!(found.what.contains("as do all who could give one back: \"report\" ("), "{found}");
}

#[tokio::test]
async fn of_holders_of_two_pools_who_want_the_other_one() {
    let schema = schema().await;
    let (one, other) = (deadpool(&schema, 1), deadpool(&schema, 1));
    let (policy, mut findings) = watching(Severity::Error);
    let all_hold_one = Arc::new(Barrier::new(2));
    let report = |(own, second): (Pool<AsyncPgConnection>, Pool<AsyncPgConnection>)| {
        let db = txsafe_diesel::Database::builder(own).guard(policy.clone()).build().unwrap();
        let all_hold_one = Arc::clone(&all_hold_one);
        tokio::spawn(async move {
            db.transaction("report", async |mut tx| {
                tx.batch_execute("SELECT 1").await?;
                all_hold_one.wait().await;
                second.get().await?.batch_execute("SELECT 1").await?;
                anyhow::Ok(())
            })
            .await
        })
    };
    let reports = [(one.clone(), other.clone()), (other, one)].map(report).into();
    let line = line!() - 7;
    assert_eq!(failed_by(Code::EndlessCheckout, reports).await, 1, "the other one goes on");
    assert_is(&findings.recv().await.unwrap(), Code::EndlessCheckout, "checkouts.rs", line);
}

/// What is told of one that waits for itself is told by a look at all: at one that waits for somebody else, too.
#[tokio::test]
async fn but_not_of_one_whose_connection_somebody_else_may_give_back() {
    let schema = schema().await;
    let (policy, mut findings) = watching(Severity::Warn);
    let asks_for_two = |pool: Pool<AsyncPgConnection>, name: &'static str| {
        let db = txsafe_diesel::Database::builder(pool.clone()).guard(policy.clone());
        let db = db.build().unwrap();
        tokio::spawn(async move {
            db.transaction(name, async |mut tx| {
                tx.batch_execute("SELECT 1").await?;
                pool.get().await?.batch_execute("SELECT 1").await?;
                anyhow::Ok(())
            })
            .await
        })
    };
    let shared = deadpool(&schema, 2);
    let given_back = shared.get().await.unwrap();
    let waiting = asks_for_two(shared.clone(), "waits for somebody");
    while shared.status().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let endless = asks_for_two(deadpool(&schema, 1), "waits for itself");
    let found = findings.recv().await.unwrap();
    assert_eq!((found.code, &*found.transaction), (Code::EndlessCheckout, "waits for itself"));
    assert!(found.what.contains("the only one of its pool"), "{found}");
    endless.abort();
    drop(given_back);
    waiting.await.unwrap().unwrap();
    assert!(findings.try_recv().is_err());
}

/// Nobody can look at a thread that is blocked: it is told at its timeout.
#[tokio::test]
async fn of_r2d2_at_its_timeout() {
    let schema = schema().await;
    let (policy, mut findings) = watching(Severity::Error);
    let told = tokio::task::spawn_blocking(move || {
        let manager = ConnectionManager::<PgConnection>::new(schema.url());
        let timeout = Duration::from_millis(500);
        let builder = txsafe_diesel::blocking::pool_builder().max_size(1);
        let pool = builder.connection_timeout(timeout).build(manager).unwrap();
        let db = txsafe_diesel::blocking::Database::builder(pool.clone()).guard(policy);
        db.build().unwrap().transaction("report", |mut tx| {
            tx.batch_execute("SELECT 1")?;
            assert!(pool.get().is_err());
            anyhow::Ok(())
        })
    });
    let line = line!() - 4;
    let said = told.await.unwrap_err().into_panic().downcast::<String>().unwrap();
    assert!(said.contains("while it held the only one of its own"), "{said}");
    let found = findings.recv().await.unwrap();
    assert_is(&found, Code::EndlessCheckout, "checkouts.rs", line);
}
