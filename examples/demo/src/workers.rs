//! The callers: each makes one request after another and notes what it was told.

use std::time::{Duration, Instant};

use tokio::{
    task::{JoinError, JoinSet},
    time::{interval, sleep, timeout},
};

use crate::{
    error::Error,
    modes::Mode,
    requests::Request,
    screen::Screen,
    tally::{Answer, Latencies, Tally},
};

/// How many callers there are, and connections for them.
pub(crate) const WORKERS: usize = 16;

/// After so many failures in a row that no lock explains, a worker takes the server for gone.
const PATIENCE_IN_TROUBLE: u32 = 5;
const PAUSE_IN_TROUBLE: Duration = Duration::from_millis(200);

/// How long requests may go on once the time is over. Callers who wait in a queue of deadlocks need seconds.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(15);

/// What one worker saw.
struct Seen {
    latencies: Latencies,
    answers: Vec<(i64, Answer)>,
    first_oddity: Option<String>,
}

/// Lets the workers loose for `duration`.
pub(crate) async fn fight(
    mode: &Mode,
    seed: u64,
    duration: Duration,
    screen: &Screen,
) -> Result<Tally, Error> {
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        workers.spawn(work(mode.clone(), worker, seed, started + duration));
    }

    let mut progress = screen.progress(mode.kind, duration);
    let mut tick = interval(progress.interval());
    let all = timeout(duration + PATIENCE_AT_THE_END, gather(&mut workers, mode));
    let mut all = std::pin::pin!(all);
    let gathered = loop {
        tokio::select! {
            gathered = &mut all => break gathered,
            _ = tick.tick() => progress.show(started.elapsed(), mode.counters.counts()),
        }
    };
    let elapsed = started.elapsed();
    progress.finish(elapsed, mode.counters.counts());
    let seen = gathered
        .map_err(|_elapsed| Error::Stuck { kind: mode.kind, waited: PATIENCE_AT_THE_END })??;
    Ok(Tally {
        counts: mode.counters.counts(),
        elapsed,
        latencies: seen.latencies,
        answers: seen.answers,
        first_oddity: seen.first_oddity,
    })
}

/// Waits for all workers; the first one that can't go on ends them all.
async fn gather(workers: &mut JoinSet<Result<Seen, String>>, mode: &Mode) -> Result<Seen, Error> {
    let kind = mode.kind;
    let mut all = Seen { latencies: Latencies::new(), answers: Vec::new(), first_oddity: None };
    while let Some(joined) = workers.join_next().await {
        let seen = joined
            .map_err(|_: JoinError| Error::Panicked(format!("a worker of mode {kind}")))?
            .map_err(|message| Error::Trouble { kind, message })?;
        all.latencies.add(&seen.latencies);
        all.answers.extend(seen.answers);
        all.first_oddity = all.first_oddity.or(seen.first_oddity);
    }
    Ok(all)
}

/// One caller: a closed loop of requests, until time is over or nothing works any more.
async fn work(mode: Mode, worker: usize, seed: u64, until: Instant) -> Result<Seen, String> {
    let mut dice = fastrand::Rng::with_seed(seed.wrapping_add(worker as u64));
    let mut seen = Seen { latencies: Latencies::new(), answers: Vec::new(), first_oddity: None };
    let mut troubles_in_a_row = 0;
    for number in 0.. {
        if Instant::now() >= until {
            break;
        }
        let operation = number * WORKERS as i64 + worker as i64;
        let request = Request::random(&mut dice);
        let asked = Instant::now();
        let result = mode.run(&request, operation).await;
        seen.latencies.record(asked.elapsed());

        let answer = match &result {
            Ok(()) => Answer::Committed,
            Err(failure) if failure.is_commit_unknown() => Answer::Unknown,
            Err(_) => Answer::Failed,
        };
        mode.counters.add_answer(answer);
        seen.answers.push((operation, answer));

        match result {
            Err(failure) if !failure.is_collision() => {
                troubles_in_a_row += 1;
                if troubles_in_a_row == PATIENCE_IN_TROUBLE {
                    return Err(failure.to_string());
                }
                seen.first_oddity.get_or_insert_with(|| failure.to_string());
                sleep(PAUSE_IN_TROUBLE).await;
            }
            Err(failure) => {
                mode.note(&failure);
                troubles_in_a_row = 0;
            }
            Ok(()) => troubles_in_a_row = 0,
        }
    }
    Ok(seen)
}
