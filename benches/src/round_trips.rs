//! How many answers a transaction waits for.

use crate::{
    Result,
    figure::{Findings, Value, median},
    ground::Ground,
    plan::Plan,
    relay::Relay,
    work,
};
use std::time::Duration;

/// Far enough that no answer overtakes a request that doesn't wait for it, even on a busy machine.
const AWAY: Duration = Duration::from_millis(5);

/// Transactions that are counted; the median is immune to one that the scheduler interrupted.
const COUNTED: u32 = 21;

/// Round trips of a guarded transaction, minus those of a bare one, on diesel-async.
pub(crate) fn diesel_async(ground: &Ground, _plan: &Plan) -> Result<Findings> {
    use work::diesel_async::{bare_pool, guarded, run_bare, run_guarded};
    let relay = Relay::start(ground.address()?, AWAY)?;
    let url = ground.through(relay.port());
    let (db, pool) = (guarded(&url, 1)?, bare_pool(&url, 1)?);
    let ours = async || run_guarded(&db, &[1]).await;
    let theirs = async || run_bare(&pool, &[1]).await;
    work::runtime()?.block_on(extra("round_trips_extra", &relay, ours, theirs))
}

/// The same on SQLx.
pub(crate) fn sqlx(ground: &Ground, _plan: &Plan) -> Result<Findings> {
    use work::sqlx::{on_one_connection, run_bare, run_guarded};
    let relay = Relay::start(ground.address()?, AWAY)?;
    let url = ground.through(relay.port());
    work::runtime()?.block_on(async {
        let (db, pool) = on_one_connection(&url)?;
        let ours = async || run_guarded(&db).await;
        let theirs = async || run_bare(&pool).await;
        extra("round_trips_extra_sqlx", &relay, ours, theirs).await
    })
}

/// The same on Diesel's blocking connections.
pub(crate) fn diesel(ground: &Ground, _plan: &Plan) -> Result<Findings> {
    use work::diesel::{on_one_connection, run_bare, run_guarded};
    let relay = Relay::start(ground.address()?, AWAY)?;
    let url = ground.through(relay.port());
    let (db, pool) = on_one_connection(&url)?;
    let (ours, theirs) = (async || run_guarded(&db), async || run_bare(&pool));
    work::runtime()?.block_on(extra("round_trips_extra_diesel", &relay, ours, theirs))
}

async fn extra(
    name: &'static str,
    relay: &Relay,
    ours: impl AsyncFn() -> Result<()>,
    theirs: impl AsyncFn() -> Result<()>,
) -> Result<Findings> {
    let (ours, theirs) = (flights(relay, ours).await?, flights(relay, theirs).await?);
    Ok(Findings {
        values: vec![Value::counted(name, ours - theirs)],
        notes: vec![format!("{name}: {ours} / {theirs}")],
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
