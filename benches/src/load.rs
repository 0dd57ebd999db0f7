//! Workers that run transactions at once, and how many they get done.

use crate::{Result, plan::Plan};
use fastrand::Rng;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use std::{
    future::Future,
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Runtime};

/// Workers, and connections of each pool.
pub(crate) const WORKERS: usize = 16;

/// What a worker does over and over.
pub(crate) trait Job: Clone + Send + 'static {
    /// Brings one transaction to its end, with the rows that `dice` choose.
    fn run(&self, dice: &mut Rng) -> impl Future<Output = Result<End>> + Send;
}

/// How a transaction ended for whoever asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Committed,
    Failed,
}

/// What the workers got done in one turn.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) per_second: f64,
    /// What a single transaction in this turn comes to, per second.
    pub(crate) one: f64,
    pub(crate) failed: u64,
    /// Of committed transactions, in microseconds.
    pub(crate) times: Histogram<u64>,
}

/// What several turns come to.
#[derive(Debug, Default)]
pub(crate) struct Turns(Vec<Turn>);

impl Turns {
    /// Adds a turn.
    pub(crate) fn push(&mut self, turn: Turn) {
        self.0.push(turn);
    }

    /// The ratios of throughput, round by round. Where the others got nothing done, they are taken to have done one.
    pub(crate) fn over(&self, other: &Self) -> Vec<f64> {
        let rounds = self.0.iter().zip(&other.0);
        rounds.map(|(ours, theirs)| ours.per_second / theirs.per_second.max(theirs.one)).collect()
    }

    /// Transactions that failed, the run-in included.
    pub(crate) fn failed(&self) -> u64 {
        self.0.iter().map(|turn| turn.failed).sum()
    }

    /// In words.
    pub(crate) fn describe(&self, what: &str) -> Result<String> {
        let mut times = Histogram::<u64>::new(3)?;
        for turn in &self.0 {
            times.add(&turn.times)?;
        }
        let per_second = crate::figure::median(self.0.iter().map(|turn| turn.per_second));
        let ms = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        let (p50, p99) = (ms(0.5), ms(0.99));
        Ok(format!("{what}: {per_second:.0} per second, p50 {p50:.1} ms, p99 {p99:.1} ms"))
    }
}

/// A runtime with several threads, as services have it.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// Lets the workers run for the run-in and for the measured time. Every round has dice of its own, and they fall alike
/// for all variants.
pub(crate) async fn turn(job: &impl Job, plan: &Plan, round: u32) -> Result<Turn> {
    let from = Instant::now() + plan.run_in;
    let until = from + plan.turn;
    let workers = (0..WORKERS).map(|worker| {
        let dice = Rng::with_seed(u64::from(round) << 32 | worker as u64);
        tokio::spawn(work(job.clone(), dice, from, until))
    });
    let one = 1.0 / plan.turn.as_secs_f64();
    let mut turn = Turn { per_second: 0.0, one, failed: 0, times: Histogram::new(3)? };
    for done in try_join_all(workers).await? {
        let (times, failed) = done?;
        turn.times.add(times)?;
        turn.failed += failed;
    }
    turn.per_second = turn.times.len() as f64 * one;
    Ok(turn)
}

async fn work(
    job: impl Job,
    mut dice: Rng,
    from: Instant,
    until: Instant,
) -> Result<(Histogram<u64>, u64)> {
    let (mut times, mut failed) = (Histogram::new(3)?, 0);
    loop {
        let start = Instant::now();
        if start >= until {
            return Ok((times, failed));
        }
        let end = job.run(&mut dice).await?;
        let now = Instant::now();
        match end {
            End::Failed => failed += 1,
            End::Committed if (from..until).contains(&now) => times.record(micros(now - start))?,
            End::Committed => {}
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
