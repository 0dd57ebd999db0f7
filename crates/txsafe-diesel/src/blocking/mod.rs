//! Guarded, retrying transactions on Diesel's blocking connections: the same words as for diesel-async, with one `await`
//! less.
//!
//! ```no_run
//! use diesel::{PgConnection, QueryResult, connection::SimpleConnection, r2d2::{ConnectionManager, Pool}};
//! use txsafe_diesel::{Error, blocking::Database};
//!
//! # enum AppError { Diesel(diesel::result::Error), Txsafe(Error) }
//! # impl From<Error> for AppError { fn from(error: Error) -> Self { Self::Txsafe(error) } }
//! # impl From<diesel::result::Error> for AppError { fn from(error: diesel::result::Error) -> Self { Self::Diesel(error) } }
//! // A helper on Diesel's own connection type stays as it is.
//! fn mark_delivered(conn: &mut PgConnection, order: i32) -> QueryResult<()> {
//! #   let _ = order;
//!     conn.batch_execute("UPDATE …")
//! }
//!
//! fn deliver(db: &Database, order: i32) -> Result<(), AppError> {
//!     db.transaction("deliver", |mut tx| {
//!         mark_delivered(&mut tx, order)?;
//!         tx.after_commit(move || println!("order {order} is on its way"));
//!         Ok(())
//!     })
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = ConnectionManager::<PgConnection>::new("postgres://shop@localhost/shop");
//! let db = Database::builder(Pool::builder().max_size(8).build(manager)?).service("shop").build()?;
//! # let _ = deliver(&db, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What is seen, and what isn't
//!
//! libpq keeps its wire to itself. Errors are heard by an [`Instrumentation`](diesel::connection::Instrumentation) on the
//! connection, whatever the closure makes of them; whether the transaction is open or aborted libpq says. SQLSTATEs are
//! known by Diesel's error kinds and by the server's messages, in the languages that PostgreSQL ships with. The
//! first connection of a [`Database`] asks for `lc_messages`, and in another language nothing begins. BEGIN is awaited,
//! and COMMIT asks first whether there is something to commit.
//!
//! Diesel hands out a connection's instrumentation by reference only, and so it can't be taken over: add your own by
//! [`chain_instrumentation`]. Diesel's default instrumentation goes on hearing everything.
//!
//! # A second connection
//!
//! A pool made by [`pool_builder`] tells the guard of connections that are taken from it inside a transaction
//! ([`TXS005`](crate::guard::Code::SecondConnection)): enough of these at once empty the pool, and all wait for each other.
//! Over deadpool-diesel, `watched` does that.
//!
//! # A server that never answers
//!
//! A blocking call can't be given up from outside. The server's timeouts work as everywhere; but where the server or the
//! network is gone without a word, a statement, BEGIN and COMMIT hold their thread until TCP gives up, and
//! `answer_timeout` bounds only the questions after a lost COMMIT. Let TCP give up sooner, by the connection's URL:
//!
//! ```text
//! postgres://shop@db/shop?connect_timeout=5&tcp_user_timeout=10000&keepalives_idle=10&keepalives_interval=5&keepalives_count=3
//! ```
//!
//! `tcp_user_timeout` (milliseconds) bounds what was sent and not acknowledged, keepalives (seconds) the wait for an
//! answer. Source: PostgreSQL manual, section 34.1.2, "Parameter Key Words".

mod checkout;
#[cfg(feature = "deadpool-diesel")]
mod deadpool;
mod driver;
mod held;
mod instrumentation;
mod language;
mod link;
mod outbox;
mod pool;
mod savepoint;
mod session;
mod tx;
mod watch;
mod write;

pub use driver::{Attempts, Configured, Database, Driver, KeyedAttempts, OwnedTx, WithKey};
pub use held::Held;
pub use instrumentation::chain_instrumentation;
#[cfg(feature = "deadpool-diesel")]
pub use outbox::InteractOutboxWorker;
pub use outbox::OutboxWorker;
pub use pool::Pool;
pub use tx::{Transact, Tx};
pub use txsafe::OutboxStopper;
#[cfg(feature = "deadpool-diesel")]
pub use watch::watched;
pub use watch::{pool_builder, pool_builder_with};
