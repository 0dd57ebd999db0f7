//! What it costs to note which transaction holds a connection, beside the transaction that pays for it.

use crate::{
    Result,
    figure::{Findings, Value, median},
    ground::Ground,
    plan::Plan,
    work::{
        diesel_async::{bare_pool, run_bare},
        runtime,
    },
};
use std::{
    panic::Location,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use txsafe::driver::{Calls, Connection, Holdings, Stage};

/// Threads whose transactions begin and end on one database at once.
const THREADS: usize = 2;

/// Transactions between two looks at the clock.
const BATCH: u32 = 10_000;

/// The share of a bare transaction's time, over a Unix socket and without waiting for the disk: the shortest one that is measured.
pub(crate) fn vs_bare(ground: &Ground, plan: &Plan) -> Result<Findings> {
    let pool = bare_pool(&ground.socket_unsynced(), 1)?;
    let runtime = runtime()?;
    let (mut shares, mut ours, mut theirs) = (vec![], vec![], vec![]);
    for _ in 0..plan.rounds {
        let noted = noted(plan.turn);
        let bare = runtime.block_on(async {
            let mut times = Vec::new();
            let until = Instant::now() + plan.turn;
            while Instant::now() < until {
                let start = Instant::now();
                run_bare(&pool, &[1]).await?;
                times.push(start.elapsed().as_secs_f64());
            }
            Ok::<_, crate::Error>(median(times))
        })?;
        shares.push(noted / bare);
        ours.push(noted * 1e9);
        theirs.push(bare * 1e6);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    Ok(Findings {
        values: vec![Value::of_rounds("holders_vs_bare", &shares)],
        notes: vec![format!("holders_vs_bare: {ours:.0} ns / {theirs:.0} µs")],
    })
}

/// Seconds for one transaction, while as many threads as there are do nothing else.
fn noted(turn: Duration) -> f64 {
    let holdings = Arc::<Holdings>::default();
    let started = Instant::now();
    let notes = || {
        let (name, connection) = (Arc::<str>::from("bench"), Arc::<Calls>::default());
        let place = Location::caller();
        let mut transactions = 0_u32;
        while started.elapsed() < turn {
            for _ in 0..BATCH {
                let connection = Arc::clone(&connection) as Arc<dyn Connection>;
                let holding = holdings.takes(&name, place, false);
                holding.got(connection, Stage::Begins);
                holding.enters(Stage::Runs);
                holding.enters(Stage::Ends);
            }
            transactions += BATCH;
        }
        started.elapsed().as_secs_f64() / f64::from(transactions)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(notes)).collect();
        let times = threads.into_iter().map(|thread| thread.join().unwrap_or(f64::NAN));
        median(times.collect::<Vec<_>>())
    })
}
