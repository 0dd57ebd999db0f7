//! What the guard costs by itself, and how exact its accounts are.

use crate::{
    Result,
    figure::{Findings, Value},
    ground::Ground,
    plan::Plan,
    work::timed,
};
use std::{
    future::{Future, poll_fn},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use txsafe::guard::{Policy, Rehearsal, in_transaction};

/// Polls or looks between two looks at the clock.
const BATCH: u32 = 100_000;

/// A poll in production.
pub(crate) fn poll(_ground: &Ground, plan: &Plan) -> Result<Findings> {
    added_to_polls("guard_poll_ns", &Policy::production(), plan)
}

/// A poll in staging.
pub(crate) fn poll_staging(_ground: &Ground, plan: &Plan) -> Result<Findings> {
    added_to_polls("guard_poll_staging_ns", &Policy::staging(), plan)
}

/// A transaction that is over with its first poll.
pub(crate) fn transaction(_ground: &Ground, plan: &Plan) -> Result<Findings> {
    let stage = Rehearsal::new(Policy::production())?;
    let name: std::sync::Arc<str> = "bench".into();
    let rounds = (0..plan.rounds).map(|_| {
        let bare = nanos_each(plan.turn, || ready(async { black_box(()) }));
        let guarded = nanos_each(plan.turn, || {
            ready(stage.transaction(std::sync::Arc::clone(&name), async { black_box(()) }));
        });
        guarded - bare
    });
    Ok(of("guard_transaction_ns", &rounds.collect::<Vec<_>>()))
}

/// A look, in a transaction.
pub(crate) fn look(_ground: &Ground, plan: &Plan) -> Result<Findings> {
    let stage = Rehearsal::new(Policy::production())?;
    let mut rounds = Vec::new();
    ready(stage.transaction("bench", async {
        rounds.extend((0..plan.rounds).map(|_| {
            let nothing = nanos_each(plan.turn, || assert!(black_box(true)));
            nanos_each(plan.turn, || assert!(black_box(in_transaction()))) - nothing
        }));
    }));
    Ok(of("in_transaction_ns", &rounds))
}

/// The accounts beside stopwatches.
pub(crate) fn database_time(ground: &Ground, plan: &Plan) -> Result<Findings> {
    let url = ground.socket_unsynced();
    let mut notes = Vec::new();
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let mut worst = 0.0_f64;
        for (driver, timed) in [
            ("diesel-async", timed::diesel_async(&url)?),
            ("diesel", timed::diesel(&url)?),
            ("sqlx", timed::sqlx(&url)?),
        ] {
            let (stopwatches, accounted) = timed;
            let off = (accounted.as_secs_f64() / stopwatches.as_secs_f64() - 1.0).abs();
            notes.push(format!(
                "guard_database_time_off: {driver} {accounted:.1?} of {stopwatches:.1?}"
            ));
            worst = worst.max(off);
        }
        rounds.push(worst);
    }
    Ok(Findings { values: vec![Value::of_rounds("guard_database_time_off", &rounds)], notes })
}

fn added_to_polls(name: &'static str, policy: &Policy, plan: &Plan) -> Result<Findings> {
    let stage = Rehearsal::new(policy.clone())?;
    let rounds = (0..plan.rounds).map(|_| {
        let bare = nanos_each_poll(plan.turn, never());
        nanos_each_poll(plan.turn, stage.transaction("bench", never())) - bare
    });
    Ok(of(name, &rounds.collect::<Vec<_>>()))
}

/// A future that is never ready, and leaves no waker behind.
fn never() -> impl Future<Output = ()> {
    poll_fn(|_| {
        black_box(());
        Poll::Pending
    })
}

fn nanos_each_poll(turn: Duration, future: impl Future<Output = ()>) -> f64 {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    nanos_each(turn, || assert!(black_box(future.as_mut().poll(&mut cx)).is_pending()))
}

fn ready<F: Future<Output = ()>>(future: F) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pin!(future).poll(&mut cx).is_ready());
}

fn nanos_each(turn: Duration, mut work: impl FnMut()) -> f64 {
    let (started, mut batches) = (Instant::now(), 0_u32);
    while started.elapsed() < turn {
        for _ in 0..BATCH {
            work();
        }
        batches += 1;
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(batches) / f64::from(BATCH)
}

fn of(name: &'static str, rounds: &[f64]) -> Findings {
    Findings { values: vec![Value::of_rounds(name, rounds)], notes: Vec::new() }
}
