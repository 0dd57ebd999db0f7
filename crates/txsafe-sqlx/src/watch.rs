//! Pools that tell the guard of connections that are taken from them.

use sqlx::{Postgres, pool::PoolOptions};
use txsafe::guard::connection_taken;

/// Has the guard told of every connection that is taken from the pool: in a transaction it is a second one, and a finding
/// ([`TXS005`](txsafe::guard::Code::SecondConnection)).
///
/// SQLx keeps one `after_connect` and one `before_acquire`, and these are they. Where you have your own, call
/// [`guard::connection_taken`](connection_taken) in them instead.
///
/// # Examples
/// ```
/// use sqlx::postgres::PgPoolOptions;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = PgPoolOptions::new().max_connections(8);
/// let pool = txsafe_sqlx::watched(options).connect_lazy("postgres://shop@localhost/shop")?;
/// let db = txsafe_sqlx::Database::builder(pool).build()?;
/// # let _ = db;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn watched(options: PoolOptions<Postgres>) -> PoolOptions<Postgres> {
    const POOL: &str = "a pool of SQLx";
    options
        .after_connect(|_, _| {
            connection_taken(POOL);
            Box::pin(std::future::ready(Ok(())))
        })
        .before_acquire(|_, _| {
            connection_taken(POOL);
            Box::pin(std::future::ready(Ok(true)))
        })
}
