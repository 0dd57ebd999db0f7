use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;

use super::keeping::{VARIABLE, is_kept};
use super::suite::ended;
use super::worker::{Reply, Request, Worker};
use crate::Error;

/// A database of one test alone; taken by [`TestDatabases::take`](crate::TestDatabases::take).
///
/// It is dropped with this value, and sessions that are still in it are ended; where the server has fsync on and that takes a
/// second, a moment later. The destructor blocks until the server has answered, for 10 s at most, and can't report a failure:
/// [`remove`](Self::remove) does. A process that dies leaves it to the next one that takes a database.
///
/// With `TXSAFE_KEEP_DATABASES=1` the database of a test that panics is kept, and standard error says what it is called. With
/// `TXSAFE_KEEP_DATABASES=all` every database is kept: for tests that fail by returning an error.
#[derive(Debug)]
#[must_use = "the database is dropped with this value"]
pub struct TestDatabase {
    name: String,
    url: String,
    test: Option<Arc<str>>,
    /// `None` once it is gone, or kept.
    worker: Option<Worker>,
}

impl TestDatabase {
    /// What it is called; plain enough to stand in SQL without quotes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where to connect, as the user of the server's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Drops the database, whoever is connected to it, and waits for that.
    ///
    /// # Errors
    ///
    /// When the server can't be reached, or another role is connected to the database.
    pub async fn remove(mut self) -> Result<(), Error> {
        let Some(worker) = self.worker.take() else { return Ok(()) };
        let (sender, receiver) = oneshot::channel();
        let reply: Reply<()> = Box::new(|removed| _ = sender.send(removed));
        worker.ask(Request::Remove { name: self.name.clone(), is_awaited: true, reply });
        receiver.await.map_err(|_| ended())?
    }

    pub(super) fn new(name: String, url: String, test: Option<Arc<str>>, worker: Worker) -> Self {
        Self { name, url, test, worker: Some(worker) }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // Longer than a server takes that isn't dead.
        const PATIENCE: Duration = Duration::from_secs(10);
        let Some(worker) = self.worker.take() else { return };
        let (sender, receiver) = mpsc::sync_channel(1);
        let reply: Reply<()> = Box::new(move |done| _ = sender.send(done));
        let name = self.name.clone();
        let is_kept = is_kept();
        worker.ask(if is_kept {
            Request::Keep { name, test: self.test.clone(), reply }
        } else {
            Request::Remove { name, is_awaited: false, reply }
        });
        let done = receiver.recv_timeout(PATIENCE);
        if is_kept && matches!(done, Ok(Ok(()))) {
            tell(&self.name, self.test.as_deref());
        }
    }
}

#[expect(clippy::print_stderr, reason = "whoever set the variable waits for it")]
fn tell(name: &str, test: Option<&str>) {
    let test = test.unwrap_or("without a name");
    eprintln!(
        "{VARIABLE}: the database of test {test} is kept: {name}; `DROP DATABASE {name}` when you have seen it"
    );
}
