//! Whether the machine stood still meanwhile: what is to happen in time says nothing then.

use super::post::connect;
use futures_util::FutureExt;
use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    time::{Duration, Instant},
};
use tokio::time::sleep;
use txsafe_testkit::Postgres;

/// A test is tried so often.
const TRIES: u32 = 5;

/// How long the machine, its disk or its server may take for next to nothing.
const LONGEST: Duration = Duration::from_secs(1);

/// Runs a test, again if it failed while a trivial write took longer than [`LONGEST`]: virtual machines are put aside for
/// several seconds, and a worker that does everything right is late then.
pub(crate) async fn where_nothing_stands_still(test: impl AsyncFn()) {
    for _ in 1..TRIES {
        let test = AssertUnwindSafe(test()).catch_unwind();
        let (ended, longest) = beside_writes(test).await;
        match ended {
            Ok(()) => return,
            Err(panic) if longest < LONGEST => resume_unwind(panic),
            Err(_late) => tracing::warn!(?longest, "the machine stood still: once more"),
        }
    }
    test().await;
}

/// Awaits `test`, and says how long the longest of the writes took that were made meanwhile.
async fn beside_writes<T>(test: impl Future<Output = T>) -> (T, Duration) {
    let schema = Postgres::shared().await.unwrap().schema("pulse").await.unwrap();
    let client = connect(schema.url()).await.unwrap();
    client.batch_execute("CREATE TABLE beats (at timestamptz)").await.unwrap();
    let (mut longest, mut start) = (Duration::ZERO, Instant::now());
    let writes = async {
        loop {
            client.batch_execute("INSERT INTO beats VALUES (now())").await.unwrap();
            sleep(Duration::from_millis(20)).await;
            longest = longest.max(start.elapsed());
            start = Instant::now();
        }
    };
    let ended = tokio::select! {
        ended = test => ended,
        () = writes => unreachable!("it has no end"),
    };
    // The one under way counts: when everything goes on, the test may come first.
    (ended, longest.max(start.elapsed()))
}
