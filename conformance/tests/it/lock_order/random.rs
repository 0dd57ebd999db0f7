//! Random transactions: those that respect the order never deadlock, and of those that don't the graph knew it.

use crate::lock_order::town::Town;
use fastrand::Rng;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgConnectOptions, query};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::task::JoinSet;
use txsafe_conformance::error::AppError;
use txsafe_sqlx::{Cause, Database, LockGraph, RetryPolicy, TxOptions};

const WORKERS: u64 = 8;
const TABLES: usize = 4;
const ROWS: i32 = 3;

/// A table and a row.
type Lock = (usize, i32);

/// What random transactions came to.
struct Came {
    deadlocks: usize,
    /// Deadlocks at which the graph knew of no inversion.
    surprises: usize,
    graph: LockGraph,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_respects_the_order_never_deadlocks() {
    let came = fight(500, |mut locks| {
        locks.sort_unstable();
        locks
    })
    .await;
    assert_eq!(came.deadlocks, 0, "in 4,000 transactions");
    came.graph.assert_no_inversions();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_deadlocks_was_known_before() {
    for _ in 0..20 {
        let came = fight(100, |locks| locks).await;
        assert_eq!(came.surprises, 0, "of {} deadlocks", came.deadlocks);
        if came.deadlocks > 0 {
            return;
        }
    }
    panic!("without a deadlock, this shows nothing");
}

/// Lets workers lock random rows, as `ordered` puts them, on a server that looks for deadlocks at once.
async fn fight(each: usize, ordered: fn(Vec<Lock>) -> Vec<Lock>) -> Came {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let town = Town::found("random").await;
    for table in 0..TABLES {
        let sql = format!(
            "CREATE TABLE t{table} (id int PRIMARY KEY, n int NOT NULL);
             INSERT INTO t{table} SELECT id, 0 FROM generate_series(0, {ROWS} - 1) id"
        );
        town.other.batch_execute(&sql).await.unwrap();
    }
    let graph = LockGraph::new();
    let (deadlocks, surprises) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let told = (Arc::clone(&deadlocks), Arc::clone(&surprises), graph.clone());
    let db = Database::builder(pool(town.url())).lock_graph(graph.clone());
    let db = db.retry(RetryPolicy::new().max_attempts(1)).on_report(move |report| {
        let (deadlocks, surprises, graph) = &told;
        let died =
            report.failures.iter().filter(|failure| failure.cause == Cause::Deadlock).count();
        deadlocks.fetch_add(died, Relaxed);
        if graph.inversions().is_empty() {
            surprises.fetch_add(died, Relaxed);
        }
    });
    let db = db.build().unwrap();
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (db, dice) = (db.clone(), Rng::with_seed(seed.wrapping_add(worker)));
        workers.spawn(work(db, dice, each, ordered));
    }
    workers.join_all().await;
    Came { deadlocks: deadlocks.load(Relaxed), surprises: surprises.load(Relaxed), graph }
}

async fn work(db: Database, mut dice: Rng, each: usize, ordered: fn(Vec<Lock>) -> Vec<Lock>) {
    let patient = TxOptions::new().adaptive_lock_timeout(false);
    let db = db.with(patient.lock_timeout(Duration::from_secs(20)));
    for _ in 0..each {
        let locks = (0..dice.usize(2..=4)).map(|_| (dice.usize(..TABLES), dice.i32(0..ROWS)));
        let locks = ordered(locks.collect());
        let ended = db.clone().transaction("random", async |mut tx| {
            for (table, row) in &locks {
                let sql = format!("UPDATE t{table} SET n = n + 1 WHERE id = $1");
                query(AssertSqlSafe(sql)).bind(row).execute(&mut tx).await?;
            }
            Ok(())
        });
        match ended.await {
            Ok(()) => {}
            // Of the last attempt, as the closure has it: a deadlock, which is counted by its report.
            Err(AppError::Opaque) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn pool(url: &str) -> PgPool {
    let options: PgConnectOptions = url.parse().unwrap();
    let options = options.options([("deadlock_timeout", "1ms")]);
    sqlx::postgres::PgPoolOptions::new().max_connections(8).connect_lazy_with(options)
}
