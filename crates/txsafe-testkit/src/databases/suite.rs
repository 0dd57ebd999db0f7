use std::fmt;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use tokio::sync::oneshot;

use super::builder::TestDatabasesBuilder;
use super::store::Plan;
use super::test_database::TestDatabase;
use super::worker::{Reply, Request, Worker};
use crate::Error;

/// A database for each test of a suite: a copy of one template, in which the application's migrations have run.
///
/// Make one `static` for each set of migrations, and [`take`](Self::take) a database in each test. The template is made once
/// for a server, and again when its [fingerprint](TestDatabasesBuilder::fingerprint) changes. Copies are made ahead, so that a
/// test hardly waits for its own.
///
/// The server is the one that `DATABASE_URL` names, else [`Postgres::shared`](crate::Postgres::shared). On a server that is
/// given, all test processes share template and copies; it needs a role with `CREATEDB`, and a connection to the server itself, not
/// one through a pooler such as pgBouncer. Only databases called `txsafe_test_…` and `txsafe_tests` are created, and only those
/// called `txsafe_test_…` are dropped.
///
/// # Examples
///
/// ```
/// use std::{error::Error, sync::LazyLock};
/// use tokio_postgres::NoTls;
/// use txsafe_testkit::TestDatabases;
///
/// const MIGRATION: &str = "CREATE TABLE orders (id int)"; // or those of Diesel or SQLx
///
/// static DATABASES: LazyLock<TestDatabases> = LazyLock::new(|| {
///     TestDatabases::builder("shop").fingerprint([MIGRATION]).migrate(migrate)
/// });
///
/// async fn migrate(url: String) -> Result<(), tokio_postgres::Error> {
///     let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
///     tokio::spawn(connection);
///     client.batch_execute(MIGRATION).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn Error>> {
/// let mine = DATABASES.take().await?;
/// let yours = DATABASES.take().await?;
/// assert_ne!(mine.name(), yours.name());
///
/// let (client, connection) = tokio_postgres::connect(mine.url(), NoTls).await?;
/// tokio::spawn(connection);
/// client.batch_execute("INSERT INTO orders VALUES (1)").await?;
/// # Ok(())
/// # }
/// ```
pub struct TestDatabases {
    plan: Result<Plan, Error>,
    server: Option<String>,
    worker: OnceLock<Result<Worker, Error>>,
}

impl TestDatabases {
    /// Describes the databases of a suite. Its name is a part of the names of its databases.
    pub fn builder(suite: impl Into<String>) -> TestDatabasesBuilder {
        TestDatabasesBuilder::new(suite.into())
    }

    /// Takes a database that nobody else has. It is dropped with the returned value.
    ///
    /// The first call in a process starts a thread, which makes the template if there is none and copies ahead of tests.
    ///
    /// # Errors
    ///
    /// When the server can't be reached or started, the role may not create databases, or the migrations fail. The message
    /// names the cure. Migrations that have failed are not run again in this process.
    pub async fn take(&self) -> Result<TestDatabase, Error> {
        let (sender, receiver) = oneshot::channel();
        let (worker, test) = self.ask(Box::new(|taken| _ = sender.send(taken)))?;
        let (name, url) = receiver.await.map_err(|_| ended())??;
        Ok(TestDatabase::new(name, url, test, worker))
    }

    /// [`take`](Self::take) for code without a runtime.
    ///
    /// # Errors
    ///
    /// Like [`take`](Self::take).
    pub fn take_blocking(&self) -> Result<TestDatabase, Error> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let (worker, test) = self.ask(Box::new(move |taken| _ = sender.send(taken)))?;
        let (name, url) = receiver.recv().map_err(|_| ended())??;
        Ok(TestDatabase::new(name, url, test, worker))
    }

    pub(super) fn new(plan: Result<Plan, Error>, server: Option<String>) -> Self {
        Self { plan, server, worker: OnceLock::new() }
    }

    fn ask(&self, reply: Reply<(String, String)>) -> Result<(Worker, Option<Arc<str>>), Error> {
        let started =
            self.worker.get_or_init(|| Worker::start(self.plan.clone()?, self.server.clone()));
        let worker = started.clone()?;
        // libtest calls the thread of a test by its name.
        let test = thread::current().name().map(Arc::from);
        worker.ask(Request::Take { test: test.clone(), reply });
        Ok((worker, test))
    }
}

impl fmt::Debug for TestDatabases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suite = self.plan.as_ref().map(|plan| &plan.set.suite);
        f.debug_struct("TestDatabases").field("suite", &suite).finish_non_exhaustive()
    }
}

/// The thread that makes databases panicked.
pub(super) fn ended() -> Error {
    Error::new("the thread that makes databases has ended; its panic is further up in the output")
}
