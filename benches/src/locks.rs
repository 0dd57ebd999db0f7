//! Rows that are locked through types.

use crate::{
    Result,
    duel::duel,
    figure::{Findings, Value, median},
    ground::Ground,
    plan::Plan,
    relay::Relay,
    work::{
        ordered::{lock_by_hand, lock_many, ordered},
        runtime,
    },
};
use std::time::Duration;

/// Rows that are locked at once.
const MANY: usize = 100;

/// Transactions whose round trips are counted.
const COUNTED: u32 = 21;

/// `lock_many` against the query that one would write, each in a guarded transaction.
pub(crate) fn many(ground: &Ground, plan: &Plan) -> Result<Findings> {
    let db = ordered(&ground.socket_unsynced(), 1)?;
    let ids = ids();
    let ours = async || lock_many(&db, &ids).await;
    let theirs = async || lock_by_hand(&db, &ids).await;
    runtime()?.block_on(duel("lock_many_vs_query", plan, ours, theirs))
}

/// What `lock_many` adds to an empty transaction, whose BEGIN and COMMIT take one each: BEGIN isn't waited for.
pub(crate) fn round_trips(ground: &Ground, _plan: &Plan) -> Result<Findings> {
    let relay = Relay::start(ground.address()?, Duration::from_millis(1))?;
    let db = ordered(&ground.through(relay.port()), 1)?;
    let ids = ids();
    runtime()?.block_on(async {
        lock_many(&db, &ids).await?;
        let mut counts = Vec::new();
        for _ in 0..COUNTED {
            let before = relay.flights();
            lock_many(&db, &ids).await?;
            counts.push((relay.flights() - before) as f64);
        }
        let all = median(counts);
        Ok(Findings {
            values: vec![Value::counted("lock_many_round_trips", all - 1.0)],
            notes: vec![format!("lock_many_round_trips: {all} with COMMIT's")],
        })
    })
}

/// In descending order, so that there is something to sort.
fn ids() -> Vec<i64> {
    (0..MANY as i64).map(|n| 9_999 - 97 * n).collect()
}
