//! Each case does its call, waits in the way that it says, and comes to an end.

use std::future::poll_fn;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{self, Runtime};
use txsafe_clients::{Case, Wait};

/// Hundreds of times what the slowest case takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What waits shorter than this, no guard can tell from what doesn't wait.
const NOTICEABLE: Duration = Duration::from_millis(1);

fn main() {
    let arguments = Arguments::from_args();
    let cases = txsafe_clients::all().map(|case| Trial::test(case.name, move || judge(case)));
    let names = Trial::test("names are unique", names_are_unique);
    libtest_mimic::run(&arguments, cases.chain([names]).collect()).exit();
}

fn judge(case: &'static Case) -> Result<(), Failed> {
    let observed = observe(case)?;
    let as_said = match case.wait {
        Wait::Suspends => observed.suspensions > 0 && observed.took >= NOTICEABLE,
        Wait::Blocks => observed.suspensions == 0 && observed.took >= NOTICEABLE,
        Wait::Yields => observed.suspensions <= 1,
        Wait::GoesOn => observed.suspensions == 0,
    };
    if as_said { Ok(()) } else { Err(format!("{:?} is untrue: {observed:?}", case.wait).into()) }
}

#[derive(Debug)]
struct Observed {
    suspensions: usize,
    took: Duration,
}

fn observe(case: &'static Case) -> Result<Observed, Failed> {
    let runtime = two_workers()?;
    let (tell, told) = mpsc::channel();
    runtime.spawn(async move {
        // If nobody listens any more, that has been reported.
        let _ = tell.send(run(case).await);
    });
    // Not by tokio's clock: it stands still if the case has blocked every thread that turns it.
    let outcome = told.recv_timeout(PATIENCE);
    runtime.shutdown_background();
    match outcome {
        Ok(outcome) => Ok(outcome?),
        Err(mpsc::RecvTimeoutError::Timeout) => Err("never ends".into()),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err("panicked, see above".into()),
    }
}

async fn run(case: &Case) -> Result<Observed, txsafe_clients::Failed> {
    let mut call = case.prepare().await?;
    let mut suspensions = 0;
    let begin = Instant::now();
    let left = poll_fn(|context| {
        let poll = call.as_mut().poll(context);
        suspensions += usize::from(poll.is_pending());
        poll
    })
    .await?;
    let took = begin.elapsed();
    drop(left);
    Ok(Observed { suspensions, took })
}

fn two_workers() -> Result<Runtime, Failed> {
    Ok(runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn names_are_unique() -> Result<(), Failed> {
    let mut names: Vec<_> = txsafe_clients::all().map(|case| case.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(format!("{} is there twice", pair[0]).into()),
    }
}
