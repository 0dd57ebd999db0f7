//! Workers that lock two rows each, in random order: deadlock upon deadlock.

use crate::{
    Result,
    figure::{Findings, Value},
    ground::{Ground, ROWS},
    load::{self, End, Job, Turns, WORKERS},
    plan::Plan,
    work::{
        diesel_async::{bare_pool, guarded, run_bare, run_guarded},
        ordered::{Bank, ordered, run_ordered},
    },
};
use diesel_async::{AsyncPgConnection, pooled_connection::deadpool::Pool};
use fastrand::Rng;
use txsafe_diesel::Database;

/// Throughput of wrapped code, and of code in a declared order, against code that retries at once and against code that was
/// put in order by hand.
pub(crate) fn measure(ground: &Ground, plan: &Plan) -> Result<Findings> {
    load::runtime()?.block_on(async {
        let pool = bare_pool(&ground.socket(), WORKERS)?;
        let wrapped = Wrapped(guarded(&ground.socket(), WORKERS)?);
        let ordered = Ordered(ordered(&ground.socket(), WORKERS)?);
        let (naive, sorted) = (Naive(pool.clone()), Sorted(pool));
        let [mut wrapped_turns, mut ordered_turns, mut naive_turns, mut sorted_turns] =
            [(); 4].map(|()| Turns::default());
        for round in 0..plan.rounds {
            wrapped_turns.push(load::turn(&wrapped, plan, round).await?);
            ordered_turns.push(load::turn(&ordered, plan, round).await?);
            sorted_turns.push(load::turn(&sorted, plan, round).await?);
            naive_turns.push(load::turn(&naive, plan, round).await?);
        }
        Ok(Findings {
            values: vec![
                Value::of_rounds("storm_vs_naive_retry", &wrapped_turns.over(&naive_turns)),
                Value::of_rounds("storm_vs_sorted", &wrapped_turns.over(&sorted_turns)),
                Value::of_rounds("ordered_vs_bare", &ordered_turns.over(&naive_turns)),
                Value::of_rounds("ordered_vs_bare_sorted", &ordered_turns.over(&sorted_turns)),
                Value::counted("ordered_failed_to_caller", ordered_turns.failed() as f64),
                Value::counted("storm_failed_to_caller", wrapped_turns.failed() as f64),
            ],
            notes: vec![
                wrapped_turns.describe("storm, guarded in random order")?,
                ordered_turns.describe("storm, guarded in a declared order")?,
                naive_turns.describe("storm, bare and retried at once")?,
                sorted_turns.describe("storm, bare with rows in one order")?,
            ],
        })
    })
}

/// Two rows that are not the same one, in random order.
fn two_rows(dice: &mut Rng) -> [i32; 2] {
    let first = dice.i32(1..=ROWS);
    let second = dice.i32(1..ROWS);
    [first, if second < first { second } else { second + 1 }]
}

/// In random order, guarded.
#[derive(Clone)]
struct Wrapped(Database);

impl Job for Wrapped {
    async fn run(&self, dice: &mut Rng) -> Result<End> {
        let done = run_guarded(&self.0, &two_rows(dice)).await;
        Ok(if done.is_ok() { End::Committed } else { End::Failed })
    }
}

/// In the declared order, and never again: a deadlock would be a failure.
#[derive(Clone)]
struct Ordered(Database<Bank>);

impl Job for Ordered {
    async fn run(&self, dice: &mut Rng) -> Result<End> {
        let mut rows = two_rows(dice);
        rows.sort_unstable();
        let done = run_ordered(&self.0, &rows).await;
        Ok(if done.is_ok() { End::Committed } else { End::Failed })
    }
}

/// In random order, and again at once when it fails.
#[derive(Clone)]
struct Naive(Pool<AsyncPgConnection>);

impl Job for Naive {
    async fn run(&self, dice: &mut Rng) -> Result<End> {
        let rows = two_rows(dice);
        while let Err(error) = run_bare(&self.0, &rows).await {
            if !error.to_string().contains("deadlock") {
                return Err(error);
            }
        }
        Ok(End::Committed)
    }
}

/// In one order, so that there are no deadlocks.
#[derive(Clone)]
struct Sorted(Pool<AsyncPgConnection>);

impl Job for Sorted {
    async fn run(&self, dice: &mut Rng) -> Result<End> {
        let mut rows = two_rows(dice);
        rows.sort_unstable();
        run_bare(&self.0, &rows).await.map(|()| End::Committed)
    }
}
