//! Pools that tell the guard of connections that are taken from them.

#[cfg(feature = "deadpool-diesel")]
use deadpool_diesel::postgres::{Hook, PoolBuilder as DeadpoolBuilder};
use diesel::{
    PgConnection,
    r2d2::{
        Builder as R2d2Builder, ConnectionManager,
        event::{CheckoutEvent, HandleEvent, TimeoutEvent},
    },
};
use txsafe::guard::{checkout_timed_out, connection_taken};

/// What findings call a pool of these.
const R2D2: &str = "a pool of r2d2";

/// Has the guard told of every connection that is taken from the pool: in a transaction it is a second one, and a finding
/// ([`TXS005`](txsafe::guard::Code::SecondConnection)).
///
/// r2d2 keeps one `event_handler`, and this is it. Where you have your own, call
/// [`guard::connection_taken`](connection_taken) in its `handle_checkout` instead, and
/// [`guard::checkout_timed_out`](checkout_timed_out) in its `handle_timeout`. Its `try_get` tells nobody.
///
/// deadpool-diesel gets a `pre_recycle` and a `post_create` hook more.
///
/// # Examples
/// ```
/// use diesel::r2d2::{ConnectionManager, Pool};
/// use txsafe_diesel::blocking::{Database, watched};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = ConnectionManager::new("postgres://shop@localhost/shop");
/// let pool = watched(Pool::builder().max_size(8).min_idle(Some(0))).build_unchecked(manager);
/// let db = Database::builder(pool).build()?;
/// # let _ = db;
/// # Ok(())
/// # }
/// ```
///
/// The same over deadpool-diesel:
/// ```
/// # #[cfg(feature = "deadpool-diesel")] {
/// use deadpool_diesel::{Runtime, postgres::{Manager, Pool}};
/// use txsafe_diesel::{NoOrder, blocking::{Database, watched}};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = Manager::new("postgres://shop@localhost/shop", Runtime::Tokio1);
/// let pool = watched(Pool::builder(manager).max_size(8)).build()?;
/// let db: Database<NoOrder, Pool> = Database::builder(pool).build()?;
/// # let _ = db;
/// # Ok(())
/// # }
/// # main().unwrap();
/// # }
/// ```
#[must_use]
pub fn watched<B: PoolBuilder>(builder: B) -> B {
    builder.telling()
}

/// What builds a pool that a [`Database`](super::Database) can be built over: r2d2's builder, or deadpool-diesel's. Nobody
/// else implements it.
pub trait PoolBuilder: Sealed {}

/// What is needed of a builder.
pub trait Sealed: Sized {
    /// With something that tells.
    fn telling(self) -> Self;
}

impl PoolBuilder for R2d2Builder<ConnectionManager<PgConnection>> {}

impl Sealed for R2d2Builder<ConnectionManager<PgConnection>> {
    fn telling(self) -> Self {
        self.event_handler(Box::new(Teller))
    }
}

/// Tells of the events of an r2d2 pool, which calls it on the thread that takes a connection.
#[derive(Debug)]
struct Teller;

impl HandleEvent for Teller {
    fn handle_checkout(&self, _: CheckoutEvent) {
        connection_taken(R2D2);
    }

    fn handle_timeout(&self, event: TimeoutEvent) {
        checkout_timed_out(R2D2, event.timeout());
    }
}

#[cfg(feature = "deadpool-diesel")]
impl PoolBuilder for DeadpoolBuilder {}

#[cfg(feature = "deadpool-diesel")]
impl Sealed for DeadpoolBuilder {
    /// Recycling asks the server, and of whatever waits another finding tells: so this one is told before. Making one waits,
    /// too, and no hook comes before that.
    fn telling(self) -> Self {
        let taken = || {
            Hook::sync_fn(|_, _| {
                connection_taken("a pool of deadpool-diesel");
                Ok(())
            })
        };
        self.pre_recycle(taken()).post_create(taken())
    }
}
