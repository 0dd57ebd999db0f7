//! A second connection, taken from a pool inside a transaction, is found with its line.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use diesel_async::{SimpleAsyncConnection, pooled_connection::deadpool};
use sqlx::{PgPool, postgres::PgPoolOptions};
use std::sync::{Arc, Mutex};
use txsafe::{
    Error,
    guard::{Code, Finding, Policy},
};
use txsafe_testkit::Postgres;

type Findings = Arc<Mutex<Vec<Finding>>>;

/// Names of lines are looked up before the transaction ends, because something may fail it.
fn watching() -> (Policy, Findings) {
    let findings = Findings::default();
    let receive = Arc::clone(&findings);
    let policy = Policy::test();
    (policy.on_finding(move |found| receive.lock().unwrap().push(found.clone())), findings)
}

/// It was found, at this line, and nothing else was.
fn assert_found(findings: &Findings, line: u32) {
    let findings = findings.lock().unwrap();
    let told: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        findings.iter().filter(|found| found.code == Code::SecondConnection).count(),
        1,
        "{told:?}"
    );
    let second = findings.iter().find(|found| found.code == Code::SecondConnection).unwrap();
    let site = second.site.as_ref().unwrap();
    assert!(site.file.ends_with("second.rs") && site.line == line, "{second}");
}

#[tokio::test]
async fn of_a_deadpool() {
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("second").await.unwrap();
    let pool = deadpool::Pool::builder(txsafe_diesel::manager(schema.url())).max_size(2);
    let pool = pool.build().unwrap();
    let (policy, findings) = watching();
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
    let options = txsafe_sqlx::watched(PgPoolOptions::new().max_connections(2));
    let pool: PgPool = options.connect(schema.url()).await.unwrap();
    let (policy, findings) = watching();
    let db = txsafe_sqlx::Database::builder(pool.clone()).guard(policy).build().unwrap();
    let held = pool.acquire().await.unwrap();
    drop(held);
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
