//! The two ways to run a handler: the only difference between the two halves of the demo.

use std::{fmt, sync::Arc};

use diesel_async::{
    AsyncConnection as _, AsyncPgConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool::Pool,
    },
};
use txsafe_diesel::Database;

use crate::{error::Error, failure::Failure, requests::Request, tally::Counters, workers::WORKERS};

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

/// diesel-async's own manager. Like txsafe's it doesn't send a query before each use, so that the pools are alike.
fn bare_manager(url: &str) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    AsyncDieselConnectionManager::new_with_config(url, config)
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
