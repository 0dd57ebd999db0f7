//! SQLite on SQLx, with the feature `sqlite`: the same transactions on a database with one writer at a time.
//!
//! ```
//! use sqlx::{query, query_scalar, sqlite::SqlitePoolOptions};
//! use txsafe_sqlx::sqlite::Database;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let file = std::env::temp_dir().join(format!("txsafe_doc_{}.db", std::process::id()));
//! # let url = format!("sqlite://{}?mode=rwc", file.display());
//! let pool = SqlitePoolOptions::new().max_connections(4).connect(&url).await?;
//! query("CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)").execute(&pool).await?;
//! query("INSERT INTO accounts VALUES (1, 100), (2, 100)").execute(&pool).await?;
//!
//! let db = Database::builder(pool).build()?;
//! let left: i64 = db
//!     .transaction("transfer", async |mut tx| {
//!         query("UPDATE accounts SET balance = balance - 30 WHERE id = 1").execute(&mut tx).await?;
//!         query("UPDATE accounts SET balance = balance + 30 WHERE id = 2").execute(&mut tx).await?;
//!         let left = query_scalar("SELECT balance FROM accounts WHERE id = 1").fetch_one(&mut tx).await?;
//!         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(left)
//!     })
//!     .await?;
//! assert_eq!(left, 70);
//! # db.pool().close().await;
//! # std::fs::remove_file(file)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is different from PostgreSQL
//! - A transaction begins with `BEGIN IMMEDIATE`, so it holds the write lock from its first moment: nothing in it is "busy" any
//!   more. One with [`read_only(true)`](crate::TxOptions::read_only) begins with `BEGIN DEFERRED` and takes none.
//! - [`lock_timeout`](crate::TxOptions::lock_timeout) is the `busy_timeout` of the transaction, or the connection's own if that
//!   is shorter, 0 being not to wait at all; the connection has its own back afterwards. SQLx sets 5 s where nobody else does. The other timeouts of statements and sessions have no counterpart. Every isolation level is serializable.
//! - "Busy" (`5`, `6`) and a stale snapshot (`517`) are tried again; COMMIT is repeated where it stands, until `commit_timeout`.
//! - **A failed statement aborts the transaction, as on PostgreSQL**, although SQLite would go on: `&mut Tx` runs nothing more
//!   until the savepoint around it is rolled back, and such a transaction isn't committed. So `INSERT OR ROLLBACK` and whatever
//!   else ends a transaction never leaves statements behind it that are committed by themselves.
//! - What fails on a connection that [`Tx::connection`] lends isn't seen, and SQLite goes on: return such an error, or tell
//!   [`Tx::saw`] of it.
//! - A statement whose future is dropped before its end, unless it only reads, aborts the transaction: nobody learns whether it
//!   failed.
//! - A transaction that is cancelled closes its connection. A database in memory is gone with its last one.
//! - One transaction writes at a time, and BEGIN waits for it, whether it has the same idempotency key or not:
//!   [`WithKey::nowait`] is refused.
//! - Ranks, advisory locks, sequences and the outbox aren't there yet.

pub use crate::engine::sqlite::{
    Attempts, Configured, Database, Driver, Held, KeyedAttempts, OwnedTx, Transact, Tx, WithKey,
    failure_of,
};

/// The table that idempotency keys are kept in, to be put into the application's migrations.
///
/// Delete old rows as often as you like:
/// `DELETE FROM txsafe_idempotency_keys WHERE committed_at < unixepoch() - 604800`.
///
/// It may run again. SQLite can't add a column only where it is missing: to a table of an earlier version add that of the
/// [`fingerprint`](WithKey::fingerprint) once, by `ALTER TABLE txsafe_idempotency_keys ADD COLUMN fingerprint TEXT`.
pub const IDEMPOTENCY_KEYS_SQL: &str = include_str!("../sql/sqlite/idempotency_keys.sql");
