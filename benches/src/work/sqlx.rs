//! Guarded and bare transactions on SQLx, and the pools they run on.

use crate::Result;
use sqlx::{PgExecutor, PgPool, postgres::PgPoolOptions, raw_sql};
use txsafe_sqlx::Database;

/// A pool that trusts its connections when they come back, like those of the other drivers.
pub(crate) fn pool(url: &str) -> Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(1).test_before_acquire(false).connect_lazy(url)?)
}

/// A guarded database over such a pool, with all its defaults.
pub(crate) fn guarded(url: &str) -> Result<Database> {
    Ok(Database::builder(pool(url)?).build()?)
}

/// The statement of all measurements: one message and one answer.
async fn add(db: impl PgExecutor<'_>) -> sqlx::Result<()> {
    raw_sql("UPDATE accounts SET balance = balance + 1 WHERE id = 1").execute(db).await.map(drop)
}

/// A transaction of SQLx, from the pool to the pool.
pub(crate) async fn run_bare(pool: &PgPool) -> Result<()> {
    let mut tx = pool.begin().await?;
    add(&mut *tx).await?;
    Ok(tx.commit().await?)
}

/// A guarded transaction.
pub(crate) async fn run_guarded(db: &Database) -> Result<()> {
    db.transaction("bench", async |mut tx| Ok(add(&mut tx).await?)).await
}
