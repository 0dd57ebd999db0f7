//! Transactions that wait, on another connection, for their own locks.

use super::{assert_is, deadpool, failed_by, schema, sqlx_pool, watching};
use diesel::{PgConnection, connection::SimpleConnection, r2d2::ConnectionManager};
use diesel_async::SimpleAsyncConnection;
use sqlx::{PgPool, raw_sql};
use tokio::task::spawn_blocking;
use txsafe::guard::{Code, Severity};
use txsafe_diesel::blocking::{Database, pool_builder};
use txsafe_testkit::Schema;

const BOOK: &str = "UPDATE seats SET is_free = false WHERE id = 1";

/// With two seats.
async fn concert() -> Schema {
    let schema = schema().await;
    let pool = sqlx_pool(&schema, 1);
    let made = "CREATE TABLE seats (id int PRIMARY KEY, is_free bool NOT NULL DEFAULT true);
        INSERT INTO seats VALUES (1), (2)";
    raw_sql(made).execute(&pool).await.unwrap();
    schema
}

#[tokio::test]
async fn are_found_on_diesel_async() {
    let schema = concert().await;
    let pool = deadpool(&schema, 2);
    let (policy, mut findings) = watching(Severity::Error);
    let db = txsafe_diesel::Database::builder(pool.clone()).service("tickets").guard(policy);
    let db = db.build().unwrap();
    let booking = tokio::spawn(async move {
        db.transaction("book", async |mut tx| {
            tx.batch_execute(BOOK).await?;
            let mut second = pool.get().await?;
            second.batch_execute(BOOK).await?;
            anyhow::Ok(())
        })
        .await
    });
    assert_eq!(failed_by(Code::OwnLock, vec![booking]).await, 1);
    let found = findings.recv().await.unwrap();
    assert_is(&found, Code::OwnLock, "own_lock.rs", line!() - 7);
    assert!(found.what.contains(BOOK), "{found}");
}

#[tokio::test]
async fn are_found_on_sqlx() {
    let schema = concert().await;
    let pool = sqlx_pool(&schema, 2);
    let (policy, mut findings) = watching(Severity::Error);
    let db = txsafe_sqlx::Database::builder(pool.clone()).guard(policy).build().unwrap();
    let booking = tokio::spawn(async move {
        db.transaction("book", async |mut tx| {
            sqlx::query(BOOK).execute(&mut tx).await?;
            sqlx::query(BOOK).execute(&pool).await?;
            anyhow::Ok(())
        })
        .await
    });
    assert_eq!(failed_by(Code::OwnLock, vec![booking]).await, 1);
    let found = findings.recv().await.unwrap();
    assert_is(&found, Code::OwnLock, "own_lock.rs", line!() - 7);
    assert!(found.what.contains(BOOK), "{found}");
}

/// Whose thread is blocked can't be woken: its statement is cancelled, so that the test goes on to fail.
#[tokio::test]
async fn are_found_on_blocking_connections() {
    let schema = concert().await;
    let (policy, mut findings) = watching(Severity::Error);
    let booking = spawn_blocking(move || {
        let manager = ConnectionManager::<PgConnection>::new(schema.url());
        let pool = pool_builder().max_size(3).build(manager).unwrap();
        let db = Database::builder(pool.clone()).service("tickets").guard(policy).build().unwrap();
        db.transaction("book", |mut tx| {
            tx.batch_execute(BOOK)?;
            pool.get()?.batch_execute(BOOK)?;
            anyhow::Ok(())
        })
    });
    assert_eq!(failed_by(Code::OwnLock, vec![booking]).await, 1);
    let found = findings.recv().await.unwrap();
    assert!(found.code == Code::OwnLock && found.what.contains(BOOK), "{found}");
}

/// The pool has no connection left to ask the server by, and the lock is that of a transaction in between.
#[tokio::test]
async fn are_found_behind_others_and_from_an_exhausted_pool() {
    let schema = concert().await;
    let (pool, others) = (deadpool(&schema, 2), sqlx_pool(&schema, 2));
    let (policy, mut findings) = watching(Severity::Error);
    let db = txsafe_diesel::Database::builder(pool.clone()).guard(policy).build().unwrap();
    let booking = tokio::spawn(async move {
        db.transaction("book", async |mut tx| {
            tx.batch_execute(BOOK).await?;
            let waiting = others.clone();
            let between = tokio::spawn(async move { sqlx::query(BOOK).execute(&waiting).await });
            while !is_waiting(&others, BOOK).await {}
            pool.get().await?.batch_execute(BOOK).await?;
            between.await??;
            anyhow::Ok(())
        })
        .await
    });
    assert_eq!(failed_by(Code::OwnLock, vec![booking]).await, 1);
    assert_is(&findings.recv().await.unwrap(), Code::OwnLock, "own_lock.rs", line!() - 7);
}

/// The server is asked about the one who waits for somebody else, too, and before it is about the other.
#[tokio::test]
async fn but_not_behind_somebody_elses_lock() {
    let schema = concert().await;
    let (pool, others) = (deadpool(&schema, 4), sqlx_pool(&schema, 2));
    let (policy, mut findings) = watching(Severity::Warn);
    let db = txsafe_diesel::Database::builder(pool.clone()).guard(policy).build().unwrap();
    let books = |name: &'static str, first: &'static str, second: &'static str| {
        let (db, pool) = (db.clone(), pool.clone());
        tokio::spawn(async move {
            db.transaction(name, async |mut tx| {
                tx.batch_execute(first).await?;
                pool.get().await?.batch_execute(second).await?;
                anyhow::Ok(())
            })
            .await
        })
    };
    let mut somebody = others.begin().await.unwrap();
    sqlx::query("SELECT FROM seats WHERE id = 2 FOR UPDATE").execute(&mut *somebody).await.unwrap();
    let waits = books("waits for somebody", "SELECT 1", "DELETE FROM seats WHERE id = 2");
    while !is_waiting(&others, "DELETE FROM seats WHERE id = 2").await {}
    let is_blocked = books("waits for itself", BOOK, BOOK);
    let found = findings.recv().await.unwrap();
    assert_eq!((found.code, &*found.transaction), (Code::OwnLock, "waits for itself"));
    is_blocked.abort();
    somebody.rollback().await.unwrap();
    waits.await.unwrap().unwrap();
    assert!(findings.try_recv().is_err());
}

/// Whether this statement waits for a lock, by now.
async fn is_waiting(pool: &PgPool, sql: &str) -> bool {
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database() AND query = $1";
    sqlx::query_scalar(waits).bind(sql).fetch_one(pool).await.unwrap()
}
