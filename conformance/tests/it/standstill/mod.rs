//! Transactions that wait for what can't come are found while they wait.

mod checkouts;
mod own_lock;

use diesel_async::{AsyncPgConnection, pooled_connection::deadpool};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::{JoinError, JoinHandle},
};
use txsafe::guard::{Code, Finding, Policy, Severity};
use txsafe_testkit::{Postgres, Schema};

async fn schema() -> Schema {
    Postgres::shared().await.unwrap().schema("standstill").await.unwrap()
}

fn deadpool(schema: &Schema, size: usize) -> deadpool::Pool<AsyncPgConnection> {
    let manager = txsafe_diesel::manager(schema.url());
    deadpool::Pool::builder(manager).max_size(size).build().unwrap()
}

fn sqlx_pool(schema: &Schema, size: u32) -> PgPool {
    PgPoolOptions::new().max_connections(size).connect_lazy(schema.url()).unwrap()
}

/// A policy that tells of standstills and of nothing else, and what it tells.
fn watching(severity: Severity) -> (Policy, UnboundedReceiver<Finding>) {
    let (tell, findings) = unbounded_channel();
    let policy = Code::ALL.into_iter().fold(Policy::test(), |policy, code| {
        let is_standstill = matches!(code, Code::EndlessCheckout | Code::OwnLock);
        policy.severity(code, if is_standstill { severity } else { Severity::Off })
    });
    (policy.on_finding(move |found| drop(tell.send(found.clone()))), findings)
}

/// Its code, and where it waits.
fn assert_is(found: &Finding, code: Code, file: &str, line: u32) {
    assert_eq!(found.code, code, "{found}");
    let site = found.site.as_ref().unwrap();
    assert!(site.file.ends_with(file) && site.line == line, "{found}");
}

/// How many of these transactions failed by this finding; the others went on to their end.
async fn failed_by(code: Code, transactions: Vec<JoinHandle<anyhow::Result<()>>>) -> usize {
    let mut failed = 0;
    for transaction in transactions {
        match transaction.await.map_err(JoinError::into_panic) {
            Ok(committed) => committed.unwrap(),
            Err(panic) => {
                let said = panic.downcast::<String>().unwrap();
                assert!(said.starts_with(code.as_str()), "{said}");
                failed += 1;
            }
        }
    }
    failed
}
