//! Guarded and bare transactions on Diesel's blocking connections, and the pool they run on.

use crate::Result;
use diesel::{
    Connection, PgConnection, QueryResult,
    connection::SimpleConnection,
    r2d2::{ConnectionManager, Pool},
};
use txsafe_diesel::blocking::Database;

/// A pool of Diesel's blocking connections.
pub(crate) type R2d2 = Pool<ConnectionManager<PgConnection>>;

/// A guarded database with all its defaults, and its pool of one connection, which trusts that when it comes back, like
/// the pools of the other drivers.
pub(crate) fn on_one_connection(url: &str) -> Result<(Database, R2d2)> {
    let manager = ConnectionManager::new(url);
    let pool = Pool::builder().max_size(1).test_on_check_out(false).build(manager)?;
    Ok((Database::builder(pool.clone()).build()?, pool))
}

/// The statement of all measurements: one message and one answer.
fn add(conn: &mut PgConnection) -> QueryResult<()> {
    conn.batch_execute("UPDATE accounts SET balance = balance + 1 WHERE id = 1")
}

/// A transaction of Diesel, from the pool to the pool.
pub(crate) fn run_bare(pool: &R2d2) -> Result<()> {
    Ok(pool.get()?.transaction(|conn| add(conn))?)
}

/// A guarded transaction.
pub(crate) fn run_guarded(db: &Database) -> Result<()> {
    db.transaction("bench", |mut tx| Ok(add(&mut tx)?))
}
