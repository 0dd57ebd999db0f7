//! txsafe's metrics in the registry of a service that uses the crate `prometheus`.
//!
//! txsafe counts through the `metrics` facade. `metrics-prometheus` records what goes through that in a registry of
//! `prometheus`, beside the service's own.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line talks that way")]

use prometheus::{Histogram, Registry, TextEncoder, histogram_opts};
use sqlx::{postgres::PgPoolOptions, query};
use std::{
    error::Error as StdError,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};
use txsafe_sqlx::{Database, DriverError};
use txsafe_testkit::Postgres;

/// For the second attempt to be there: a failure that asks for one.
const COLLIDE: &str =
    "DO $$ BEGIN RAISE 'could not serialize access' USING ERRCODE = '40001'; END $$";

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    // The service's own registry, with a metric of its own.
    let registry = Registry::new();
    let own = Histogram::with_opts(histogram_opts!("shop_order_euros", "What orders are worth."))?;
    registry.register(Box::new(own.clone()))?;
    // One line, before the first transaction.
    metrics_prometheus::Recorder::builder().with_registry(registry.clone()).build_and_install();

    let schema = Postgres::shared().await?.schema("metrics").await?;
    let pool = PgPoolOptions::new().max_connections(4).connect_lazy(schema.url())?;
    let db = Database::builder(pool).service("shop").pool_name("orders").build()?;
    order(&db).await?;
    own.observe(12.5);

    println!("{}", render(&registry, &db)?);
    Ok(())
}

async fn order(db: &Database) -> sqlx::Result<()> {
    let attempts = AtomicU32::new(0);
    let ordered = db.transaction("order", async |mut tx| {
        if attempts.fetch_add(1, Relaxed) == 0 {
            query(COLLIDE).execute(&mut tx).await?;
        }
        query("SELECT 1").execute(&mut tx).await?;
        Ok::<_, DriverError>(())
    });
    Ok(ordered.await?)
}

/// What `GET /metrics` answers.
fn render(registry: &Registry, db: &Database) -> prometheus::Result<String> {
    // Connections that came back since the last attempt began are counted now.
    db.record_pool_state();
    TextEncoder::new().encode_to_string(&registry.gather())
}
