//! What a guarded transaction costs this process.

use crate::{
    Result,
    figure::{Findings, Value},
    ground::Ground,
    plan::Plan,
    work::{
        diesel_async::{bare_pool, guarded, run_bare, run_guarded},
        runtime,
    },
};
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Transactions in a row of one variant.
const IN_A_ROW: u32 = 50;

/// Allocations and processor time of a guarded transaction, minus those of a bare one. Driver and runtime are on the
/// one thread that is looked at, so what they do more or less because of us counts, too.
pub(crate) fn measure(ground: &Ground, plan: &Plan) -> Result<Findings> {
    let url = ground.socket_unsynced();
    let (db, pool) = (guarded(&url, 1)?, bare_pool(&url, 1)?);
    let runtime = runtime()?;
    let ours = || in_a_row(&runtime, async || run_guarded(&db, &[1]).await);
    let theirs = || in_a_row(&runtime, async || run_bare(&pool, &[1]).await);
    ours()?;
    theirs()?;
    let allocations = (allocations(ours)?, allocations(theirs)?);
    let mut cpu = Vec::new();
    for _ in 0..plan.rounds * 20 {
        cpu.push((cpu_us(ours)?, cpu_us(theirs)?));
    }
    let extra: Vec<_> = cpu.iter().map(|(ours, theirs)| ours - theirs).collect();
    let cpu = crate::figure::median(cpu.iter().map(|(_, theirs)| *theirs));
    Ok(Findings {
        values: vec![
            Value::counted("allocations_per_transaction", allocations.0 - allocations.1),
            Value::of_rounds("cpu_us_per_transaction_extra", &extra),
        ],
        notes: vec![format!(
            "a bare transaction makes {:.0} allocations and takes {cpu:.0} µs of this process's processor time",
            allocations.1,
        )],
    })
}

fn in_a_row(runtime: &Runtime, run: impl AsyncFn() -> Result<()>) -> Result<()> {
    runtime.block_on(async {
        for _ in 0..IN_A_ROW {
            run().await?;
        }
        Ok(())
    })
}

/// Allocations per transaction.
fn allocations(run: impl Fn() -> Result<()>) -> Result<f64> {
    let mut result = Ok(());
    let counted = allocation_counter::measure(|| result = run());
    result?;
    Ok(counted.count_total as f64 / f64::from(IN_A_ROW))
}

/// Processor time per transaction, in microseconds.
fn cpu_us(run: impl Fn() -> Result<()>) -> Result<f64> {
    let before = thread_time()?;
    run()?;
    Ok((thread_time()? - before).as_secs_f64() * 1e6 / f64::from(IN_A_ROW))
}

fn thread_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
