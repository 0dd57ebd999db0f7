//! The ways to run a handler: by diesel-async alone, by txsafe, and by txsafe with a lock order.

use std::{fmt, sync::Arc};

use diesel_async::{
    AsyncConnection as _, AsyncPgConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool::Pool,
    },
};
use txsafe_diesel::{Builder, Database};

use crate::{
    error::Error, failure::Failure, locks::ShopOrder, requests::Request, tally::Counters,
    workers::WORKERS,
};

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// diesel-async alone: a failure goes to the caller.
    Bare,
    /// The same through txsafe.
    Txsafe,
    /// The same work through txsafe, with its locks in one order.
    Ordered,
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
    Ordered(Database<ShopOrder>),
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
            Way::Ordered(db) => {
                db.transaction(request.name(), async |tx| {
                    request.handle_in_order(tx, operation).await
                })
                .await
            }
        }
    }

    /// Connects.
    pub(crate) async fn connect(kind: Kind, url: &str) -> Result<Self, Error> {
        let counters = Arc::new(Counters::default());
        let manager = match kind {
            Kind::Bare => bare_manager(url),
            Kind::Txsafe | Kind::Ordered => txsafe_diesel::manager(url),
        };
        let pool = connected(manager).await?;
        let way = match kind {
            Kind::Bare => Way::Bare(pool),
            Kind::Txsafe => Way::Txsafe(counting(pool, &counters).build().map_err(failed)?),
            Kind::Ordered => {
                let db = counting(pool, &counters).lock_order::<ShopOrder>();
                Way::Ordered(db.build().map_err(failed)?)
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

/// A pool whose connections are all connected, one for every worker in every mode.
async fn connected(
    manager: AsyncDieselConnectionManager<AsyncPgConnection>,
) -> Result<Pool<AsyncPgConnection>, Error> {
    let pool = Pool::builder(manager).max_size(WORKERS).build().map_err(failed)?;
    let mut connections = Vec::new();
    for _ in 0..WORKERS {
        connections.push(pool.get().await.map_err(failed)?);
    }
    drop(connections);
    Ok(pool)
}

/// A database that is counted by what it reports.
fn counting(pool: Pool<AsyncPgConnection>, counters: &Arc<Counters>) -> Builder<Database> {
    let told = Arc::clone(counters);
    Database::builder(pool).on_report(move |report| {
        told.add_retries(report.attempts.saturating_sub(1));
        report.failures.iter().for_each(|attempt| told.add_cause(attempt.cause));
    })
}

fn failed(error: impl fmt::Display) -> Error {
    Error::Refused { doing: "connect its pool", message: error.to_string() }
}

/// diesel-async's own manager. Like txsafe's it doesn't send a query before each use, so that the pools are alike.
fn bare_manager(url: &str) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    AsyncDieselConnectionManager::new_with_config(url, config)
}

impl Kind {
    /// In the order of the table's rows.
    pub(crate) const ALL: [Self; 3] = [Self::Bare, Self::Txsafe, Self::Ordered];

    /// The word in the table and in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Txsafe => "txsafe",
            Self::Ordered => "ordered",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
