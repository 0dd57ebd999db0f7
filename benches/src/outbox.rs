//! What the outbox costs: a message beside a row that is inserted, and its delivery beside a loop that one would write.

use crate::{
    Result,
    duel::duel,
    figure::{Findings, Value, median},
    ground::Ground,
    plan::Plan,
    work::{
        outbox::{deliver, deliver_by_hand, insert, prepared, refill, write},
        runtime,
    },
};
use std::time::{Duration, Instant};

/// Messages that are delivered between two looks at the clock.
const MESSAGES: usize = 1_000;

/// A transaction that writes a message against one that inserts a row.
pub(crate) fn written(ground: &Ground, plan: &Plan) -> Result<Findings> {
    runtime()?.block_on(async {
        let (db, _pool) = prepared(&ground.socket_unsynced()).await?;
        let (ours, theirs) = (async || write(&db).await, async || insert(&db).await);
        duel("outbox_write_vs_insert", plan, ours, theirs).await
    })
}

/// Messages per second of a worker against a loop that holds its transaction open.
pub(crate) fn delivered(ground: &Ground, plan: &Plan) -> Result<Findings> {
    runtime()?.block_on(async {
        let (db, pool) = prepared(&ground.socket_unsynced()).await?;
        let ours = async || deliver(&db, MESSAGES).await;
        let theirs = async || deliver_by_hand(&pool, MESSAGES).await;
        let (mut ratios, mut our_rates, mut their_rates) = (vec![], vec![], vec![]);
        for _ in 0..plan.rounds {
            let (mut our_time, mut their_time, mut turns) = (Duration::ZERO, Duration::ZERO, 0.0);
            while our_time + their_time < 2 * plan.turn {
                refill(&pool, MESSAGES).await?;
                our_time += timed(&ours).await?;
                their_time += timed(&theirs).await?;
                turns += 1.0;
            }
            let rate = |time: Duration| MESSAGES as f64 * turns / time.as_secs_f64();
            our_rates.push(rate(our_time));
            their_rates.push(rate(their_time));
            ratios.push(rate(our_time) / rate(their_time));
        }
        let (ours, theirs) = (median(our_rates), median(their_rates));
        Ok(Findings {
            values: vec![Value::of_rounds("outbox_delivery_vs_loop", &ratios)],
            notes: vec![format!("outbox_delivery_vs_loop: {ours:.0} / {theirs:.0} per second")],
        })
    })
}

async fn timed(run: &impl AsyncFn() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    run().await?;
    Ok(start.elapsed())
}
