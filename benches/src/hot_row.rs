//! Workers that queue for one row: giving up early must not cost throughput where waiting is right.

use crate::{
    Result,
    figure::{Findings, Value},
    ground::Ground,
    load::{self, End, Job, Turns, WORKERS},
    plan::Plan,
    work::diesel_async::{bare_pool, guarded, run_bare, run_counted},
};
use diesel_async::{AsyncPgConnection, pooled_connection::deadpool::Pool};
use fastrand::Rng;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use txsafe_diesel::Database;

/// The row that everybody wants.
const ROW: i32 = 1;

/// Throughput on one row, guarded / bare.
pub(crate) fn measure(ground: &Ground, plan: &Plan) -> Result<Findings> {
    let plan = &plan.finer();
    load::runtime()?.block_on(async {
        let ours = Guarded { db: guarded(&ground.socket(), WORKERS)?, counts: Arc::default() };
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
            values: vec![
                Value::of_rounds("hot_row_vs_bare", &our_turns.over(&their_turns)),
                Value::counted("hot_row_runs_per_commit", ours.counts.runs_per_commit()),
            ],
            notes: vec![
                our_turns.describe("hot row, guarded")?,
                their_turns.describe("hot row, bare")?,
            ],
        })
    })
}

#[derive(Clone)]
struct Guarded {
    db: Database,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    runs: AtomicU64,
    commits: AtomicU64,
}

impl Counts {
    fn runs_per_commit(&self) -> f64 {
        self.runs.load(Relaxed) as f64 / self.commits.load(Relaxed) as f64
    }
}

impl Job for Guarded {
    async fn run(&self, _dice: &mut Rng) -> Result<End> {
        if run_counted(&self.db, &[ROW], &self.counts.runs).await.is_err() {
            return Ok(End::Failed);
        }
        self.counts.commits.fetch_add(1, Relaxed);
        Ok(End::Committed)
    }
}

#[derive(Clone)]
struct Bare(Pool<AsyncPgConnection>);

impl Job for Bare {
    async fn run(&self, _dice: &mut Rng) -> Result<End> {
        run_bare(&self.0, &[ROW]).await.map(|()| End::Committed)
    }
}
