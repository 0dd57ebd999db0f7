//! Guarded and bare transactions on SQLx, and the pool they run on.

use crate::Result;
use sqlx::{PgExecutor, PgPool, postgres::PgPoolOptions, raw_sql};
use txsafe_sqlx::Database;

/// A guarded database with all its defaults, and its pool of one connection.
pub(crate) fn on_one_connection(url: &str) -> Result<(Database, PgPool)> {
    on_connections(url, 1)
}

/// The same with more connections. The pool trusts them when they come back, like those of the other drivers.
pub(crate) fn on_connections(url: &str, most: u32) -> Result<(Database, PgPool)> {
    let options = PgPoolOptions::new().max_connections(most).test_before_acquire(false);
    let pool = options.connect_lazy(url)?;
    Ok((Database::builder(pool.clone()).build()?, pool))
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
