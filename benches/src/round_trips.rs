//! How many answers a transaction waits for.

use crate::{
    Result,
    figure::{Findings, Value, median},
    ground::Ground,
    plan::Plan,
    relay::Relay,
    work::{bare_pool, guarded, run_bare, run_guarded, runtime},
};
use std::time::Duration;

/// Far enough that no answer overtakes a request that doesn't wait for it, even on a busy machine.
const AWAY: Duration = Duration::from_millis(5);

/// Transactions that are counted; the median is immune to one that the scheduler interrupted.
const COUNTED: u32 = 21;

/// Round trips of a guarded transaction, minus those of a bare one.
pub(crate) fn measure(ground: &Ground, _plan: &Plan) -> Result<Findings> {
    let relay = Relay::start(ground.address()?, AWAY)?;
    let url = ground.through(relay.port());
    let (db, pool) = (guarded(&url, 1)?, bare_pool(&url, 1)?);
    runtime()?.block_on(async {
        let ours = flights(&relay, async || run_guarded(&db, &[1]).await).await?;
        let theirs = flights(&relay, async || run_bare(&pool, &[1]).await).await?;
        Ok(Findings {
            values: vec![Value::counted("round_trips_extra", ours - theirs)],
            notes: vec![format!("round_trips_extra: {ours} / {theirs}")],
        })
    })
}

/// The flights of one transaction, once its connection and its statement are there.
async fn flights(relay: &Relay, run: impl AsyncFn() -> Result<()>) -> Result<f64> {
    run().await?;
    let mut counts = Vec::new();
    for _ in 0..COUNTED {
        let before = relay.flights();
        run().await?;
        counts.push((relay.flights() - before) as f64);
    }
    Ok(median(counts))
}
