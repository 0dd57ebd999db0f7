//! Guarded and bare transactions on diesel-async, and the pools they run on.

use crate::Result;
use diesel::QueryResult;
use diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool::Pool,
    },
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use txsafe_diesel::Database;

/// What txsafe sends with BEGIN, as a careful service would send it by itself.
const SETTINGS: [&str; 4] = [
    "SET LOCAL lock_timeout = 2000",
    "SET LOCAL statement_timeout = 30000",
    "SET LOCAL idle_in_transaction_session_timeout = 30000",
    "SET LOCAL application_name = 'bench'",
];

/// A pool of plain connections, which trusts them when they come back, like the one that txsafe sets up.
pub(crate) fn bare_pool(url: &str, size: usize) -> Result<Pool<AsyncPgConnection>> {
    let mut config = ManagerConfig::default();
    config.recycling_method = RecyclingMethod::Fast;
    let manager = AsyncDieselConnectionManager::new_with_config(url, config);
    Ok(Pool::builder(manager).max_size(size).build()?)
}

/// A guarded database over a pool of the same size, with all its defaults.
pub(crate) fn guarded(url: &str, size: usize) -> Result<Database> {
    let pool = Pool::builder(txsafe_diesel::manager(url)).max_size(size).build()?;
    Ok(Database::builder(pool).build()?)
}

/// The statement of all measurements: one message and one answer, in all variants. (Diesel prepares its own UPDATE anew
/// each time, which would add the same round trip and more to each of them.)
pub(crate) async fn add(conn: &mut AsyncPgConnection, id: i32) -> QueryResult<()> {
    conn.batch_execute(&format!("UPDATE accounts SET balance = balance + 1 WHERE id = {id}")).await
}

/// A transaction of diesel-async, from the pool to the pool: one statement for each of `ids`.
pub(crate) async fn run_bare(pool: &Pool<AsyncPgConnection>, ids: &[i32]) -> Result<()> {
    let mut conn = pool.get().await?;
    conn.transaction(async |conn| {
        for id in ids {
            add(conn, *id).await?;
        }
        Ok::<_, diesel::result::Error>(())
    })
    .await?;
    Ok(())
}

/// The same behind the settings that txsafe makes, one by one.
pub(crate) async fn run_set_local(pool: &Pool<AsyncPgConnection>, id: i32) -> Result<()> {
    let mut conn = pool.get().await?;
    conn.transaction(async |conn| {
        for setting in SETTINGS {
            conn.batch_execute(setting).await?;
        }
        add(conn, id).await
    })
    .await?;
    Ok(())
}

/// A guarded transaction: one statement for each of `ids`.
pub(crate) async fn run_guarded(db: &Database, ids: &[i32]) -> Result<()> {
    run_counted(db, ids, &AtomicU64::new(0)).await
}

/// The same, which counts how often the closure runs.
pub(crate) async fn run_counted(db: &Database, ids: &[i32], runs: &AtomicU64) -> Result<()> {
    db.transaction("bench", async |mut tx| {
        runs.fetch_add(1, Relaxed);
        for id in ids {
            add(&mut tx, *id).await?;
        }
        Ok(())
    })
    .await
}
