//! Pools that tell the guard of connections that are taken from them, beside the application's own hooks.

use crate::engine::limits;
use futures_util::future::BoxFuture;
use sqlx::{
    Error, PgConnection, Postgres,
    pool::{PoolConnectionMetadata, PoolOptions},
};
use std::{fmt, sync::Arc};
use txsafe::guard::connection_taken;

/// Options of a pool that tells the guard of every connection that is taken from it: in a transaction it is a second one,
/// and a finding ([`TXS005`](txsafe::guard::Code::SecondConnection)).
///
/// It takes the place of `PgPoolOptions::new()`. All other options are set on it as usual, but for `after_connect` and
/// `before_acquire`: give these to [`pool_options_with`]. SQLx keeps one hook of each kind. One that is set on these
/// options takes the place of ours, and the pool tells less.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = txsafe_sqlx::pool_options().max_connections(8);
/// let pool = options.connect_lazy("postgres://shop@localhost/shop")?;
/// let db = txsafe_sqlx::Database::builder(pool).build()?;
/// # let _ = db;
/// # Ok(())
/// # }
/// ```
#[must_use]
#[inline]
pub fn pool_options() -> PoolOptions<Postgres> {
    pool_options_with(PoolHooks::new())
}

/// [`pool_options`] of a pool that runs these hooks, too.
///
/// The guard notes the checkout first, then the hooks run, in the order in which they were added.
///
/// # Examples
/// ```
/// use sqlx::Executor;
/// use txsafe_sqlx::{PoolHooks, pool_options_with};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hooks = PoolHooks::new().after_connect(|conn, _metadata| {
///     Box::pin(async move {
///         conn.execute("SET search_path = tenant").await?;
///         Ok(())
///     })
/// });
/// let options = pool_options_with(hooks).max_connections(8);
/// let pool = options.connect_lazy("postgres://shop@localhost/shop")?;
/// # let _ = pool;
/// # Ok(())
/// # }
/// ```
#[must_use]
#[inline]
pub fn pool_options_with(hooks: PoolHooks) -> PoolOptions<Postgres> {
    const POOL: &str = "a pool of SQLx";
    let after_connect: Arc<[_]> = hooks.after_connect.into();
    let before_acquire: Arc<[_]> = hooks.before_acquire.into();
    PoolOptions::new()
        .after_connect(move |conn, metadata| {
            connection_taken(POOL);
            let hooks = Arc::clone(&after_connect);
            Box::pin(async move {
                for hook in &*hooks {
                    hook(conn, &metadata).await?;
                }
                Ok(())
            })
        })
        .before_acquire(move |conn, metadata| {
            connection_taken(POOL);
            let hooks = Arc::clone(&before_acquire);
            Box::pin(async move {
                for hook in &*hooks {
                    if !hook(conn, &metadata).await? {
                        return Ok(false);
                    }
                }
                if !hooks.is_empty() {
                    forget_limits(conn).await?;
                }
                Ok(true)
            })
        })
}

/// The hooks may have changed the limits of the session.
async fn forget_limits(conn: &mut PgConnection) -> Result<(), Error> {
    let known = limits::known_of(conn).await?;
    known.place.into_iter().for_each(limits::forget);
    Ok(())
}

type AfterConnect = dyn for<'c> Fn(&'c mut PgConnection, &'c PoolConnectionMetadata) -> BoxFuture<'c, Result<(), Error>>
    + Send
    + Sync;

type BeforeAcquire = dyn for<'c> Fn(
        &'c mut PgConnection,
        &'c PoolConnectionMetadata,
    ) -> BoxFuture<'c, Result<bool, Error>>
    + Send
    + Sync;

/// The application's hooks on connections of a pool, for [`pool_options_with`].
#[derive(Default)]
pub struct PoolHooks {
    after_connect: Vec<Box<AfterConnect>>,
    before_acquire: Vec<Box<BeforeAcquire>>,
}

impl PoolHooks {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a hook that runs on each new connection, as [`PoolOptions::after_connect`] does: if it fails, SQLx logs the
    /// error, closes the connection and makes another one. Hooks behind one that fails don't run.
    #[must_use]
    pub fn after_connect<F>(mut self, hook: F) -> Self
    where
        F: for<'c> Fn(
                &'c mut PgConnection,
                &'c PoolConnectionMetadata,
            ) -> BoxFuture<'c, Result<(), Error>>
            + Send
            + Sync
            + 'static,
    {
        self.after_connect.push(Box::new(hook));
        self
    }

    /// Adds a hook that runs on each idle connection that is about to be taken, as [`PoolOptions::before_acquire`] does: if
    /// it fails or returns `false`, SQLx closes the connection and looks for another one. Hooks behind that one don't run.
    #[must_use]
    pub fn before_acquire<F>(mut self, hook: F) -> Self
    where
        F: for<'c> Fn(
                &'c mut PgConnection,
                &'c PoolConnectionMetadata,
            ) -> BoxFuture<'c, Result<bool, Error>>
            + Send
            + Sync
            + 'static,
    {
        self.before_acquire.push(Box::new(hook));
        self
    }
}

impl fmt::Debug for PoolHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolHooks")
            .field("after_connect", &self.after_connect.len())
            .field("before_acquire", &self.before_acquire.len())
            .finish()
    }
}
