//! A second connection, taken from a pool inside a transaction, is found with its line.

use crate::held::watched_pool;
use deadpool_diesel::postgres;
use diesel::{PgConnection, connection::SimpleConnection, r2d2};
use diesel_async::{SimpleAsyncConnection, pooled_connection::deadpool};
use sqlx::PgPool;
use tokio::{runtime::Handle, task::spawn_blocking};
use txsafe::{
    Error, NoOrder,
    guard::{Code, Policy},
};
use txsafe_conformance::findings::{Findings, only, watching};
use txsafe_diesel::blocking::{self, pool_builder};
use txsafe_testkit::{Postgres, Schema};

/// It was found, at this line, once. The line is looked up before the transaction ends, because the finding fails it.
#[track_caller]
fn assert_found(findings: &Findings, line: u32) {
    let second = only(findings, Code::SecondConnection);
    let site = second.site.as_ref().unwrap();
    assert!(site.file.ends_with("second.rs") && site.line == line, "{second}");
}

#[tokio::test]
async fn of_a_deadpool() {
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("second").await.unwrap();
    let pool = deadpool::Pool::builder(txsafe_diesel::manager(schema.url())).max_size(2);
    let pool = pool.build().unwrap();
    let (policy, findings) = watching(Policy::test());
    let db = txsafe_diesel::Database::builder(pool.clone()).guard(policy).build().unwrap();
    // One to be made, and one that comes back.
    drop(pool.get().await.unwrap());
    let outcome = tokio::spawn(async move {
        db.transaction("report", async |mut tx| {
            tx.batch_execute("SELECT 1").await.map_err(|e| e.to_string())?;
            drop(pool.get().await.unwrap());
            Ok::<_, AnyError>(())
        })
        .await
    });
    assert!(outcome.await.is_err(), "a finding fails it");
    assert_found(&findings, line!() - 6);
}

#[tokio::test]
async fn of_a_pool_of_sqlx() {
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("second").await.unwrap();
    // Neither made nor asked whether it is alive: that would be a wait, and fail it first.
    let options = txsafe_sqlx::pool_options().min_connections(2).max_connections(2);
    let options = options.test_before_acquire(false);
    let pool: PgPool = options.connect(schema.url()).await.unwrap();
    let (policy, findings) = watching(Policy::test());
    let db = txsafe_sqlx::Database::builder(pool.clone()).guard(policy).build().unwrap();
    drop((pool.acquire().await.unwrap(), pool.acquire().await.unwrap()));
    while pool.num_idle() < 2 {
        tokio::task::yield_now().await;
    }
    let outcome = tokio::spawn(async move {
        db.transaction("report", async |mut tx| {
            sqlx::query("SELECT 1").execute(&mut tx).await.map_err(|e| e.to_string())?;
            drop(pool.acquire().await.unwrap());
            Ok::<_, AnyError>(())
        })
        .await
    });
    assert!(outcome.await.is_err(), "a finding fails it");
    assert_found(&findings, line!() - 6);
}

#[tokio::test]
async fn of_an_r2d2_pool() {
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("second").await.unwrap();
    let manager = r2d2::ConnectionManager::<PgConnection>::new(schema.url());
    let (policy, findings) = watching(Policy::test());
    let outcome = spawn_blocking(move || {
        let pool = pool_builder().max_size(2).build(manager).unwrap();
        let db = blocking::Database::builder(pool.clone()).guard(policy).build().unwrap();
        drop(pool.get().unwrap());
        db.transaction("report", |mut tx| {
            tx.batch_execute("SELECT 1").map_err(|e| e.to_string())?;
            drop(pool.get().unwrap());
            Ok::<_, AnyError>(())
        })
    });
    assert!(outcome.await.is_err(), "a finding fails it");
    assert_found(&findings, line!() - 5);
}

#[tokio::test]
async fn of_a_pool_of_deadpool_diesel() {
    let server = Postgres::shared().await.unwrap();
    // The second one is made, or it was there and is recycled.
    for there_are in [1, 2] {
        let schema = server.schema("second").await.unwrap();
        let pool = deadpool_diesel(&schema, there_are).await;
        let (policy, findings) = watching(Policy::test());
        let db = blocking::Database::builder(pool.clone()).guard(policy).build().unwrap();
        let db: blocking::Database<NoOrder, _> = db;
        let outcome = tokio::spawn(async move {
            db.interact("report", move |mut tx| {
                tx.batch_execute("SELECT 1").map_err(|e| e.to_string())?;
                drop(Handle::current().block_on(pool.get()).unwrap());
                Ok::<_, AnyError>(())
            })
            .await
        });
        assert!(outcome.await.is_err(), "a finding fails it");
        assert_found(&findings, line!() - 6);
    }
}

#[tokio::test]
async fn of_a_pool_of_deadpool_diesel_in_an_async_transaction() {
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("second").await.unwrap();
    let other = deadpool_diesel(&schema, 1).await;
    let pool = deadpool::Pool::builder(txsafe_diesel::manager(schema.url())).build().unwrap();
    let (policy, findings) = watching(Policy::test());
    let db = txsafe_diesel::Database::builder(pool).guard(policy).build().unwrap();
    let outcome = tokio::spawn(async move {
        db.transaction("report", async |mut tx| {
            tx.batch_execute("SELECT 1").await.map_err(|e| e.to_string())?;
            drop(other.get().await.unwrap());
            Ok::<_, AnyError>(())
        })
        .await
    });
    assert!(outcome.await.is_err(), "a finding fails it");
    assert_found(&findings, line!() - 6);
}

/// A watched pool of two, with so many connections in it.
async fn deadpool_diesel(schema: &Schema, there_are: usize) -> postgres::Pool {
    let pool = watched_pool(schema);
    let mut held = Vec::new();
    for _ in 0..there_are {
        held.push(pool.get().await.unwrap());
    }
    pool
}

#[derive(Debug)]
struct AnyError;

impl From<Error> for AnyError {
    fn from(_: Error) -> Self {
        Self
    }
}

impl From<String> for AnyError {
    fn from(_: String) -> Self {
        Self
    }
}
