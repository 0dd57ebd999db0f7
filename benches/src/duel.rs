//! Two variants that take turns, transaction by transaction.

use crate::{
    Result,
    figure::{Findings, Value, median},
    plan::Plan,
};
use std::time::Instant;

/// Runs of each before anything is measured: connections, plans and what is learned are then there.
const WARM_UP: u32 = 50;

/// Measures `ours` / `theirs`: single transactions in turn, and per round the ratio of their median times.
pub(crate) async fn duel(
    name: &'static str,
    plan: &Plan,
    ours: impl AsyncFn() -> Result<()>,
    theirs: impl AsyncFn() -> Result<()>,
) -> Result<Findings> {
    for _ in 0..WARM_UP {
        ours().await?;
        theirs().await?;
    }
    let (mut ratios, mut our_medians, mut their_medians) = (vec![], vec![], vec![]);
    for _ in 0..plan.rounds {
        let (mut our_times, mut their_times) = (vec![], vec![]);
        let until = Instant::now() + 2 * plan.turn;
        while Instant::now() < until {
            // Neither goes always first.
            our_times.push(seconds(&ours).await?);
            their_times.push(seconds(&theirs).await?);
            their_times.push(seconds(&theirs).await?);
            our_times.push(seconds(&ours).await?);
        }
        let (ours, theirs) = (median(our_times), median(their_times));
        ratios.push(ours / theirs);
        our_medians.push(ours);
        their_medians.push(theirs);
    }
    let us = |medians: Vec<f64>| median(medians) * 1e6;
    let (ours, theirs) = (us(our_medians), us(their_medians));
    Ok(Findings {
        values: vec![Value::of_rounds(name, &ratios)],
        notes: vec![format!("{name}: {ours:.0} µs / {theirs:.0} µs")],
    })
}

async fn seconds(run: &impl AsyncFn() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    run().await?;
    Ok(start.elapsed().as_secs_f64())
}
