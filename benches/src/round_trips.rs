//! How many answers a transaction waits for, and how many its connection waits for after the caller has left.

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
    work::runtime()?.block_on(extra(["round_trips_extra"], &relay, ours, theirs))
}

/// The same on SQLx, and those of giving the connection back.
pub(crate) fn sqlx(ground: &Ground, _plan: &Plan) -> Result<Findings> {
    use work::sqlx::{on_one_connection, run_bare, run_guarded};
    let relay = Relay::start(ground.address()?, AWAY)?;
    let url = ground.through(relay.port());
    work::runtime()?.block_on(async {
        let (db, pool) = on_one_connection(&url)?;
        let ours = async || run_guarded(&db).await;
        let theirs = async || run_bare(&pool).await;
        extra(["round_trips_extra_sqlx", "round_trips_behind_sqlx"], &relay, ours, theirs).await
    })
}

/// The same on Diesel's blocking connections.
pub(crate) fn diesel(ground: &Ground, _plan: &Plan) -> Result<Findings> {
    use work::diesel::{on_one_connection, run_bare, run_guarded};
    let relay = Relay::start(ground.address()?, AWAY)?;
    let url = ground.through(relay.port());
    let (db, pool) = on_one_connection(&url)?;
    let (ours, theirs) = (async || run_guarded(&db), async || run_bare(&pool));
    work::runtime()?.block_on(extra(["round_trips_extra_diesel"], &relay, ours, theirs))
}

/// The difference before the caller has its answer and, if it has a name, the one after.
async fn extra<const N: usize>(
    names: [&'static str; N],
    relay: &Relay,
    ours: impl AsyncFn() -> Result<()>,
    theirs: impl AsyncFn() -> Result<()>,
) -> Result<Findings> {
    let (ours, theirs) = (flights(relay, ours).await?, flights(relay, theirs).await?);
    if ours[0] == 0.0 || theirs[0] == 0.0 {
        return Err("the relay counted no answers: it can't read these connections".into());
    }
    let compared = names.into_iter().zip(ours.into_iter().zip(theirs));
    let (values, notes) = compared
        .map(|(name, (ours, theirs))| {
            (Value::counted(name, ours - theirs), format!("{name}: {ours} / {theirs}"))
        })
        .unzip();
    Ok(Findings { values, notes })
}

/// The flights of one transaction until its caller has the answer, and those after, once its connection and its
/// statement are there.
async fn flights(relay: &Relay, run: impl AsyncFn() -> Result<()>) -> Result<[f64; 2]> {
    run().await?;
    let (mut before_answer, mut after_answer) = (Vec::new(), Vec::new());
    for _ in 0..COUNTED {
        let begun = quiet(relay).await;
        run().await?;
        let answered = relay.flights();
        before_answer.push((answered - begun) as f64);
        after_answer.push((quiet(relay).await - answered) as f64);
    }
    Ok([median(before_answer), median(after_answer)])
}

/// The flights so far, once there are no more of them.
async fn quiet(relay: &Relay) -> u64 {
    let mut flights = relay.flights();
    loop {
        tokio::time::sleep(8 * AWAY).await;
        match relay.flights() {
            now if now == flights => return now,
            now => flights = now,
        }
    }
}
