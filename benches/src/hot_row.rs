//! Workers that queue for one row: giving up early must not cost throughput where waiting is right.

use crate::{
    Result,
    figure::{Findings, Value},
    ground::Ground,
    load::{self, End, Job, Turns, WORKERS},
    plan::Plan,
    work::diesel_async::{bare_pool, guarded, run_bare, run_guarded},
};
use diesel_async::{AsyncPgConnection, pooled_connection::deadpool::Pool};
use fastrand::Rng;
use txsafe_diesel::Database;

/// The row that everybody wants.
const ROW: i32 = 1;

/// Throughput on one row, guarded / bare.
pub(crate) fn measure(ground: &Ground, plan: &Plan) -> Result<Findings> {
    let plan = &plan.finer();
    load::runtime()?.block_on(async {
        let ours = Guarded(guarded(&ground.socket(), WORKERS)?);
        let theirs = Bare(bare_pool(&ground.socket(), WORKERS)?);
        let (mut our_turns, mut their_turns) = (Turns::default(), Turns::default());
        for round in 0..plan.rounds {
            our_turns.push(load::turn(&ours, plan, round).await?);
            their_turns.push(load::turn(&theirs, plan, round).await?);
        }
        if our_turns.failed() > 0 {
            return Err(format!("{} transactions failed on one row", our_turns.failed()).into());
        }
        Ok(Findings {
            values: vec![Value::of_rounds("hot_row_vs_bare", &our_turns.over(&their_turns))],
            notes: vec![
                our_turns.describe("hot row, guarded")?,
                their_turns.describe("hot row, bare")?,
            ],
        })
    })
}

#[derive(Clone)]
struct Guarded(Database);

impl Job for Guarded {
    async fn run(&self, _dice: &mut Rng) -> Result<End> {
        Ok(if run_guarded(&self.0, &[ROW]).await.is_ok() { End::Committed } else { End::Failed })
    }
}

#[derive(Clone)]
struct Bare(Pool<AsyncPgConnection>);

impl Job for Bare {
    async fn run(&self, _dice: &mut Rng) -> Result<End> {
        run_bare(&self.0, &[ROW]).await.map(|()| End::Committed)
    }
}
