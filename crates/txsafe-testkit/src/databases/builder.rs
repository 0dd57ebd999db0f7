use std::error::Error as StdError;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::fingerprint::Fingerprint;
use super::registry::Set;
use super::store::Plan;
use super::suite::TestDatabases;
use super::template::Migrate;
use crate::Error;

/// What the databases of a suite are made of; started by [`TestDatabases::builder`], and ended by [`migrate`](Self::migrate) or
/// [`migrate_blocking`](Self::migrate_blocking).
///
/// # Examples
///
/// ```
/// use txsafe_testkit::TestDatabases;
///
/// let databases = TestDatabases::builder("empty")
///     .fingerprint(["no tables"])
///     .ahead(1)
///     .migrate_blocking(|_url| Ok::<_, std::io::Error>(()));
/// let database = databases.take_blocking()?;
/// assert!(database.name().starts_with("txsafe_test_empty_"));
/// # Ok::<(), txsafe_testkit::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `migrate` is called"]
pub struct TestDatabasesBuilder {
    suite: String,
    fingerprint: Result<Fingerprint, Error>,
    ahead: usize,
    server: Option<String>,
}

impl TestDatabasesBuilder {
    pub(super) fn new(suite: String) -> Self {
        let processors = thread::available_parallelism().map_or(2, usize::from);
        Self {
            fingerprint: Ok(Fingerprint::of_suite(&suite)),
            suite,
            ahead: (2 * processors).clamp(4, 16),
            server: None,
        }
    }

    /// What the template is made of: where the parts differ from those of the template that is there, another one is made.
    /// Several calls add up.
    ///
    /// Add what the embedded migrations show: with SQLx the checksum of each, with Diesel the name of each, and
    /// [`files`](Self::files) beside it. Add what else `migrate` does, as a number that you raise.
    ///
    /// Without a part, each process makes a template of its own.
    pub fn fingerprint<P: AsRef<[u8]>>(mut self, parts: impl IntoIterator<Item = P>) -> Self {
        if let Ok(fingerprint) = &mut self.fingerprint {
            parts.into_iter().for_each(|part| fingerprint.add(part.as_ref()));
        }
        self
    }

    /// Adds the names and the contents of all files in a folder and below to the [`fingerprint`](Self::fingerprint).
    ///
    /// They are read when the test runs: name the folder like `concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")`. If it can't
    /// be read, [`take`](TestDatabases::take) returns an error.
    pub fn files(mut self, folder: impl AsRef<Path>) -> Self {
        if let Ok(fingerprint) = &mut self.fingerprint
            && let Err(error) = fingerprint.add_files(folder.as_ref())
        {
            self.fingerprint = Err(error);
        }
        self
    }

    /// How many copies are kept ready. Default: twice the number of processors, from 4 to 16. Each takes 8 MB and more.
    pub fn ahead(mut self, copies: usize) -> Self {
        self.ahead = copies;
        self
    }

    /// The server, by a URL of a database on it that exists. Default: the one of [`Postgres::shared`](crate::Postgres::shared).
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.server = Some(url.into());
        self
    }

    /// The databases whose template is an empty database that `migrate` was run on.
    ///
    /// `migrate` gets the URL of that database, and runs on the thread that makes databases: give code that blocks to
    /// [`migrate_blocking`](Self::migrate_blocking). Connections that it leaves open are closed.
    pub fn migrate<F, Fut, E>(self, migrate: F) -> TestDatabases
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let migrate = Arc::new(migrate);
        self.with(Migrate::Async(Arc::new(move |url| {
            let migrate = Arc::clone(&migrate);
            Box::pin(async move { migrate(url).await.map_err(Into::into) })
        })))
    }

    /// [`migrate`](Self::migrate) with a function that blocks.
    pub fn migrate_blocking<E>(
        self,
        migrate: impl Fn(&str) -> Result<(), E> + Send + Sync + 'static,
    ) -> TestDatabases
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.with(Migrate::Blocking(Arc::new(move |url| migrate(url).map_err(Into::into))))
    }

    fn with(self, migrate: Migrate) -> TestDatabases {
        let Self { suite, fingerprint, ahead, server } = self;
        let plan = fingerprint.map(|fingerprint| {
            let known = fingerprint.digits();
            let is_private = known.is_none();
            let fingerprint = known.unwrap_or_else(|| format!("{:016x}", fastrand::u64(..)));
            Plan { set: Set { suite, fingerprint }, is_private, ahead, migrate }
        });
        TestDatabases::new(plan, server)
    }
}
