//! Transactions that are looked at.

use sqlx::{PgPool, postgres::PgPoolOptions};
use std::sync::{Arc, Mutex};
use txsafe_sqlx::{
    Database, Error,
    guard::{Code, Finding, Policy, Severity},
};
use txsafe_testkit::Postgres;

pub(crate) fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(2).connect_lazy(url).unwrap()
}

/// A database whose transactions are looked at like that.
pub(crate) async fn database(policy: Policy) -> Database {
    let server = Postgres::shared().await.unwrap();
    Database::builder(pool(server.url())).guard(policy).build().unwrap()
}

/// Runs `body` in a transaction, and returns what was found.
pub(crate) async fn found<F>(policy: Policy, body: impl Fn() -> F + Send + Sync) -> Vec<Finding>
where
    F: Future<Output: Send> + Send,
{
    let findings = Arc::<Mutex<Vec<Finding>>>::default();
    let receive = Arc::clone(&findings);
    let db =
        database(policy.on_finding(move |found| receive.lock().unwrap().push(found.clone()))).await;
    let committed = db.transaction("calls", async |_tx| {
        body().await;
        Ok::<_, Error>(())
    });
    committed.await.unwrap();
    findings.lock().unwrap().clone()
}

/// Looks for lines, and waits for them before it commits; without what depends on the machine.
pub(crate) fn with_lines() -> Policy {
    Policy::test()
        .severity(Code::ExternalCall, Severity::Warn)
        .severity(Code::BlockingCall, Severity::Off)
        .severity(Code::SlowPoll, Severity::Off)
}

/// What was called.
pub(crate) fn called(findings: &[Finding]) -> Vec<&str> {
    assert!(findings.iter().all(|found| found.code == Code::ExternalCall), "{findings:?}");
    findings.iter().map(|found| found.what.split(", which").next().unwrap()).collect()
}
