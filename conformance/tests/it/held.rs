//! A handler that holds a connection while it begins a transaction is found, with the lines of both. One that has given its
//! connection back is not.

use deadpool_diesel::postgres;
use diesel::{
    PgConnection,
    connection::{Instrumentation, InstrumentationEvent},
    r2d2,
};
use diesel_async::pooled_connection::deadpool;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    sync::{Barrier, oneshot},
    task::spawn_blocking,
};
use tracing::{Instrument, Span, subscriber::set_default};
use txsafe::{
    Error, NoOrder, RetryPolicy, TxOptions,
    guard::{Code, Policy},
};
use txsafe_conformance::findings::{Findings, only, watching};
use txsafe_diesel::blocking::{self, pool_builder, watched};
use txsafe_testkit::{Postgres, Schema};

/// It was found once, by both lines: that of the connection, and that of the transaction.
#[track_caller]
fn assert_found(findings: &Findings, taken_at: u32, began_at: u32) {
    let found = only(findings, Code::SecondConnection);
    let site = found.site.as_ref().unwrap();
    assert!(site.file.ends_with("held.rs") && site.line == taken_at, "{found}");
    assert!(found.place.file().ends_with("held.rs") && found.place.line() == began_at, "{found}");
    assert!(found.what.contains("the code that runs it holds one already, taken"), "{found}");
}

#[tokio::test]
async fn of_a_deadpool() {
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("held").await.unwrap();
    let manager = txsafe_diesel::manager(schema.url());
    let pool = deadpool::Pool::builder(manager).max_size(3).build().unwrap();
    let (policy, findings) = watching(Policy::test());
    let db = txsafe_diesel::Database::builder(pool).guard(policy).build().unwrap();
    // Somebody else holds one for as long as this runs.
    let (db2, gate) = (db.clone(), Arc::new(Barrier::new(2)));
    let listener = {
        let gate = Arc::clone(&gate);
        tokio::spawn(async move {
            let _held = db2.pool().get().await.unwrap();
            gate.wait().await;
            gate.wait().await;
        })
    };
    gate.wait().await;

    // Two come back, and the transaction takes one of them: the other one was taken last by the handler, and is idle.
    let gives_back = db.clone();
    let handler = tokio::spawn(async move {
        let pool = gives_back.pool();
        drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
        gives_back.transaction("order", async |_tx| Ok::<_, Error>(())).await
    });
    handler.await.unwrap().unwrap();
    assert!(findings.lock().unwrap().is_empty(), "{:?}", findings.lock().unwrap());

    let handler = tokio::spawn(async move {
        let _who_calls = db.pool().get().await.unwrap();
        db.transaction("order", async |_tx| Ok::<_, Error>(())).await
    });
    assert!(handler.await.is_err(), "a finding fails it");
    assert_found(&findings, line!() - 4, line!() - 3);
    gate.wait().await;
    listener.await.unwrap();
}

#[tokio::test]
async fn of_an_r2d2_pool() {
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("held").await.unwrap();
    let manager = r2d2::ConnectionManager::<PgConnection>::new(schema.url());
    let (policy, findings) = watching(Policy::test());
    let db = spawn_blocking(move || {
        let pool = pool_builder().max_size(2).build(manager).unwrap();
        let db = blocking::Database::builder(pool).guard(policy).build().unwrap();
        // Two come back, and the transaction takes one of them.
        drop((db.pool().get().unwrap(), db.pool().get().unwrap()));
        db.transaction("order", |_tx| Ok::<_, Error>(())).unwrap();
        db
    });
    let db = db.await.unwrap();
    assert!(findings.lock().unwrap().is_empty(), "{:?}", findings.lock().unwrap());

    let handler = spawn_blocking(move || {
        let _who_calls = db.pool().get().unwrap();
        db.transaction("order", |_tx| Ok::<_, Error>(()))
    });
    assert!(handler.await.is_err(), "a finding fails it");
    assert_found(&findings, line!() - 4, line!() - 3);
}

/// A watched pool of two connections.
pub(crate) fn watched_pool(schema: &Schema) -> postgres::Pool {
    let manager = postgres::Manager::new(schema.url(), deadpool_diesel::Runtime::Tokio1);
    watched(postgres::Pool::builder(manager).max_size(2)).build().unwrap()
}

#[tokio::test]
async fn of_a_pool_of_deadpool_diesel() {
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("held").await.unwrap();
    let pool = watched_pool(&schema);
    let (policy, findings) = watching(Policy::test());
    let db = blocking::Database::builder(pool).guard(policy).build().unwrap();
    let db: blocking::Database<NoOrder, _> = db;
    // Two come back, and the transaction takes one of them.
    let gives_back = db.clone();
    let handler = tokio::spawn(async move {
        let pool = gives_back.pool();
        drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
        gives_back.interact("order", |_tx| Ok::<_, Error>(())).await
    });
    handler.await.unwrap().unwrap();
    assert!(findings.lock().unwrap().is_empty(), "{:?}", findings.lock().unwrap());

    let handler = tokio::spawn(async move {
        let _who_calls = db.pool().get().await.unwrap();
        db.interact("order", |_tx| Ok::<_, Error>(())).await
    });
    assert!(handler.await.is_err(), "a finding fails it");
    assert_found(&findings, line!() - 4, line!() - 3);
}

/// A connection that was closed is on the pool's list no more: what is on it is as certain as before.
#[tokio::test]
async fn of_a_pool_of_deadpool_diesel_that_has_closed_a_connection() {
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("held").await.unwrap();
    let pool = watched_pool(&schema);
    let (policy, findings) = watching(Policy::test());
    let db = blocking::Database::builder(pool).guard(policy).build().unwrap();
    let db: blocking::Database<NoOrder, _> = db;
    // It is closed by another thread, which drops its instrumentation behind whatever txsafe keeps with it.
    let conn = db.pool().get().await.unwrap();
    let (closes, closed) = oneshot::channel();
    blocking::chain_instrumentation(&mut conn.lock().unwrap(), ToldWhenDropped(closes));
    drop(postgres::Connection::take(conn));
    assert!(closed.await.is_err(), "it is dropped");

    let handler = tokio::spawn(async move {
        let _who_calls = db.pool().get().await.unwrap();
        db.interact("order", |_tx| Ok::<_, Error>(())).await
    });
    assert!(handler.await.is_err(), "a finding fails it");
    assert_found(&findings, line!() - 4, line!() - 3);
}

/// Closes its channel when it is dropped.
struct ToldWhenDropped(#[expect(dead_code, reason = "dropped")] oneshot::Sender<()>);

impl Instrumentation for ToldWhenDropped {
    fn on_connection_event(&mut self, _event: InstrumentationEvent<'_>) {}
}

/// Two handlers hold the connections of a pool of two, each in the span of its own, and ask for a second one.
#[tokio::test]
async fn a_pool_that_ran_dry_names_the_spans_in_which_its_connections_were_taken() {
    let _subscriber = set_default(tracing_subscriber::fmt().with_writer(io::sink).finish());
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("held").await.unwrap();
    let pool = watched_pool(&schema);
    let db: blocking::Database<NoOrder, _> = blocking::Database::builder(pool).build().unwrap();
    db.interact("before", |_tx| Ok::<_, Error>(())).await.unwrap();

    let gate = Arc::new(Barrier::new(2));
    let handler = |span: Span| {
        let (db, gate) = (db.clone(), Arc::clone(&gate));
        let options = TxOptions::new().checkout_timeout(Duration::from_millis(20));
        let options = options.retry(RetryPolicy::new().max_attempts(1));
        let handler = async move {
            let _who_calls = db.pool().get().await.unwrap();
            gate.wait().await;
            let told = db.with(options).interact("order", |_tx| Ok::<_, Error>(())).await;
            gate.wait().await;
            told.unwrap_err().to_string()
        };
        tokio::spawn(handler.instrument(span))
    };
    let handlers = [handler(tracing::info_span!("rename")), handler(tracing::info_span!("remove"))];
    let line = line!() - 1;
    let [rename, remove] = handlers.map(|handler| async { handler.await.unwrap() });
    for (error, mine, other) in
        [(rename.await, "rename", "remove"), (remove.await, "remove", "rename")]
    {
        let mine = format!(" ago by the code that waits, in span `{mine}` (");
        let other = format!(" ago by another task, in span `{other}` (");
        let held = "2 connections are held by code outside of transactions: taken ";
        assert!(error.contains(held), "{error}");
        assert!(error.contains(&mine) && error.contains(&other), "{error}");
        assert_eq!(error.matches(&format!("held.rs:{line})")).count(), 2, "{error}");
    }
}

/// A handler that was told to run its transaction on the connection that it holds does so, and nothing is found.
#[tokio::test]
async fn on_the_connection_that_is_held_nothing_is_found() {
    let server = Postgres::shared().await.unwrap();
    let schema = server.schema("held").await.unwrap();
    let manager = txsafe_diesel::manager(schema.url());
    let pool = deadpool::Pool::builder(manager).max_size(1).build().unwrap();
    let (policy, findings) = watching(Policy::test());
    let db = txsafe_diesel::Database::builder(pool).guard(policy).build().unwrap();
    let mut held = db.pool().get().await.unwrap();
    for _ in 0..2 {
        let done = db.transaction_on(&mut held, "order", async |_tx| Ok::<_, Error>(()));
        done.await.unwrap();
    }
    assert!(findings.lock().unwrap().is_empty(), "{:?}", findings.lock().unwrap());
}
