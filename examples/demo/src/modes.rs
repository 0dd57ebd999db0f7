//! The two ways to run a handler: the only difference between the two halves of the demo.

use std::{fmt, sync::Arc};

use diesel_async::{
    AsyncConnection as _, AsyncPgConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool::Pool,
    },
};
use txsafe_diesel::{Cause, Database};

use crate::{error::Error, requests::Request, tally::Counters, workers::WORKERS};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// diesel-async alone: a failure goes to the caller.
    Bare,
    /// The same through txsafe.
    Txsafe,
}

/// A way to run a handler, connected.
#[derive(Clone)]
pub(crate) struct Mode {
    pub(crate) kind: Kind,
    /// What the server said.
    pub(crate) counters: Arc<Counters>,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Bare(Pool<AsyncPgConnection>),
    Txsafe(Database),
}

/// Why a request failed, as its caller sees it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A pool had no connection.
    Pool(String),
    /// A statement failed.
    Diesel(diesel::result::Error),
    /// txsafe gave up, or named a trap.
    Txsafe(txsafe_diesel::Error),
}

impl Mode {
    /// Runs the handler of a request in a transaction.
    pub(crate) async fn run(&self, request: &Request, operation: i64) -> Result<(), Failure> {
        match &self.way {
            Way::Bare(pool) => {
                let mut conn = pool.get().await.map_err(|e| Failure::Pool(e.to_string()))?;
                conn.transaction(async |conn| Ok(request.handle(conn, operation).await?)).await
            }
            Way::Txsafe(db) => {
                db.transaction(request.name(), async |mut tx| {
                    Ok(request.handle(&mut tx, operation).await?)
                })
                .await
            }
        }
    }

    /// Connects all connections of a pool, which has one for every worker in both modes.
    pub(crate) async fn connect(kind: Kind, url: &str) -> Result<Self, Error> {
        let failed = |message: String| Error::Refused { doing: "connect its pool", message };
        let counters = Arc::new(Counters::default());
        let manager = match kind {
            Kind::Bare => bare_manager(url),
            Kind::Txsafe => txsafe_diesel::manager(url),
        };
        let pool = Pool::builder(manager)
            .max_size(WORKERS)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let mut connections = Vec::new();
        for _ in 0..WORKERS {
            connections.push(pool.get().await.map_err(|error| failed(error.to_string()))?);
        }
        let way = match kind {
            Kind::Bare => Way::Bare(pool),
            Kind::Txsafe => {
                let told = Arc::clone(&counters);
                let db = Database::builder(pool).on_report(move |report| {
                    told.add_retries(report.attempts.saturating_sub(1));
                    report.failures.iter().for_each(|attempt| told.add_cause(attempt.cause));
                });
                Way::Txsafe(db.build().map_err(|error| failed(error.to_string()))?)
            }
        };
        Ok(Self { kind, counters, way })
    }

    /// Takes note of a failure that went to its caller. Those of txsafe come with its reports.
    pub(crate) fn note(&self, failure: &Failure) {
        if self.kind == Kind::Bare
            && let Some(cause) = failure.cause()
        {
            self.counters.add_cause(cause);
        }
    }
}

impl Failure {
    /// The class of the failure, as far as it is known.
    pub(crate) fn cause(&self) -> Option<Cause> {
        match self {
            Self::Pool(_) => None,
            // Diesel hides the SQLSTATE; the English message is what is left.
            Self::Diesel(error) => match error.to_string().as_str() {
                "deadlock detected" => Some(Cause::Deadlock),
                "canceling statement due to lock timeout" => Some(Cause::LockTimeout),
                _ => None,
            },
            Self::Txsafe(error) => error.cause(),
        }
    }

    /// Whether locks collided: what this demo is about, as opposed to a server in trouble.
    pub(crate) fn is_collision(&self) -> bool {
        matches!(self.cause(), Some(Cause::Deadlock | Cause::LockTimeout))
    }

    /// Whether the caller was told that nobody knows.
    pub(crate) fn is_commit_unknown(&self) -> bool {
        matches!(self, Self::Txsafe(error) if error.is_commit_unknown())
    }
}

/// diesel-async's own manager. Like txsafe's it doesn't send a query before each use, so that the pools are alike.
fn bare_manager(url: &str) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    AsyncDieselConnectionManager::new_with_config(url, config)
}

impl From<diesel::result::Error> for Failure {
    fn from(error: diesel::result::Error) -> Self {
        Self::Diesel(error)
    }
}

impl From<txsafe_diesel::Error> for Failure {
    fn from(error: txsafe_diesel::Error) -> Self {
        Self::Txsafe(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(message) => f.write_str(message),
            Self::Diesel(error) => error.fmt(f),
            Self::Txsafe(error) => error.fmt(f),
        }
    }
}

impl Kind {
    /// The word in the table and in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Txsafe => "txsafe",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
