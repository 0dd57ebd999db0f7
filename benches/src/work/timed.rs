//! Transactions whose statements are timed by stopwatches beside the guard.

use crate::{Result, work::runtime};
use diesel::{
    PgConnection,
    connection::SimpleConnection as _,
    r2d2::{ConnectionManager, Pool},
};
use diesel_async::{SimpleAsyncConnection as _, pooled_connection::deadpool};
use sqlx::{AssertSqlSafe, postgres::PgPoolOptions, raw_sql};
use std::time::{Duration, Instant};
use txsafe::guard::{self, Policy};

/// The server takes 10 ms over it, give or take.
const STATEMENT: &str = "SELECT pg_sleep(0.01)";

/// Statements of a transaction; between them it computes, and is polled.
const STATEMENTS: usize = 10;

/// Database time of one transaction: by stopwatches around its statements, and as the guard accounts it.
pub(crate) type Timed = (Duration, Duration);

pub(crate) fn diesel_async(url: &str) -> Result<Timed> {
    runtime()?.block_on(async {
        let pool = deadpool::Pool::builder(txsafe_diesel::manager(url)).max_size(1).build()?;
        let db = txsafe_diesel::Database::builder(pool).guard(Policy::staging()).build()?;
        db.transaction("timed", async |mut tx| {
            let mut sum = Duration::ZERO;
            for _ in 0..STATEMENTS {
                let start = Instant::now();
                tx.batch_execute(STATEMENT).await?;
                sum += start.elapsed();
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((sum, accounted()))
        })
        .await
    })
}

pub(crate) fn sqlx(url: &str) -> Result<Timed> {
    runtime()?.block_on(async {
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy(url)?;
        let db = txsafe_sqlx::Database::builder(pool).guard(Policy::staging()).build()?;
        db.transaction("timed", async |mut tx| {
            let mut sum = Duration::ZERO;
            for _ in 0..STATEMENTS {
                let start = Instant::now();
                raw_sql(AssertSqlSafe(STATEMENT)).execute(&mut tx).await?;
                sum += start.elapsed();
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((sum, accounted()))
        })
        .await
    })
}

pub(crate) fn diesel(url: &str) -> Result<Timed> {
    let pool = Pool::builder().max_size(1).build(ConnectionManager::<PgConnection>::new(url))?;
    let db = txsafe_diesel::blocking::Database::builder(pool).guard(Policy::staging()).build()?;
    db.transaction("timed", |mut tx| {
        let mut sum = Duration::ZERO;
        for _ in 0..STATEMENTS {
            let start = Instant::now();
            tx.batch_execute(STATEMENT)?;
            sum += start.elapsed();
        }
        Ok((sum, accounted()))
    })
}

/// As the guard has it by now.
fn accounted() -> Duration {
    let times = guard::current().and_then(|transaction| transaction.times());
    times.map_or(Duration::ZERO, |times| times.database)
}
