//! What the lock graph costs, by itself: it asks no server.

use crate::{
    Result,
    figure::{Findings, Value},
    ground::Ground,
    plan::Plan,
};
use std::{
    hint::black_box,
    panic::Location,
    sync::Arc,
    time::{Duration, Instant},
};
use txsafe::{
    LockGraph,
    driver::LockLog,
    locks::{graph::class::Class, rank::Target},
};

/// Locks of one transaction.
const LOCKS: usize = 8;

/// Classes that all come before or behind each other have some 5,000 edges.
const CLASSES: usize = 101;

/// Edges that are new, on top of those.
const NEW: usize = 100;

/// Transactions that lock what is known already, each with a log of its own.
pub(crate) fn acquisition(_ground: &Ground, plan: &Plan) -> Result<Findings> {
    let (graph, classes) = (LockGraph::new(), classes(LOCKS));
    let rounds = (0..plan.rounds).map(|_| {
        let (started, mut transactions) = (Instant::now(), 0_u32);
        while started.elapsed() < plan.turn {
            for _ in 0..1_000 {
                lock(&graph, black_box(&classes));
            }
            transactions += 1_000;
        }
        nanos(started.elapsed()) / f64::from(transactions) / LOCKS as f64
    });
    let value = Value::of_rounds("graph_acquisition_ns", &rounds.collect::<Vec<_>>());
    Ok(Findings { values: vec![value], notes: Vec::new() })
}

/// Edges to and from a class that had none.
pub(crate) fn new_edge(_ground: &Ground, plan: &Plan) -> Result<Findings> {
    let classes = classes(CLASSES + NEW);
    let rounds = (0..plan.rounds).map(|_| {
        let graph = LockGraph::new();
        for (i, one) in classes[..CLASSES].iter().enumerate() {
            for other in &classes[i + 1..CLASSES] {
                lock(&graph, &[one, other]);
            }
        }
        let started = Instant::now();
        for new in &classes[CLASSES..] {
            // From the new one everything can be reached, and is searched for it.
            lock(&graph, &[new, classes[0]]);
        }
        nanos(started.elapsed()) / 1_000.0 / NEW as f64
    });
    let value = Value::of_rounds("graph_new_edge_us", &rounds.collect::<Vec<_>>());
    Ok(Findings { values: vec![value], notes: Vec::new() })
}

/// A transaction that locks one row of each.
fn lock(graph: &LockGraph, classes: &[&'static Class]) {
    let here = Location::caller();
    let log = LockLog::new(graph, &name(), Some(here), |noticed| unreachable!("{noticed:?}"));
    for class in classes {
        log.wants(class, 7, here, true);
    }
}

/// The name of the transaction, which a database makes once.
fn name() -> Arc<str> {
    thread_local! {
        static NAME: Arc<str> = "bench".into();
    }
    NAME.with(Arc::clone)
}

/// Ranks have a `static` each.
fn classes(many: usize) -> Vec<&'static Class> {
    let class = |n| {
        let name = Box::leak(format!("bench_{n}").into_boxed_str());
        &*Box::leak(Box::new(Class::of("Any", Target::Table { name, key: "id" })))
    };
    (0..many).map(class).collect()
}

fn nanos(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e9
}
