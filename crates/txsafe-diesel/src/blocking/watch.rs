//! Pools that report to the guard which connections are taken from them, beside the application's own hooks.

#[cfg(feature = "deadpool-diesel")]
use super::link::Link;
#[cfg(feature = "deadpool-diesel")]
use crate::observer::Observer;
#[cfg(feature = "deadpool-diesel")]
use deadpool_diesel::{
    Connection, Metrics,
    postgres::{Hook, PoolBuilder},
};
use diesel::{
    PgConnection,
    r2d2::{
        Builder, ConnectionManager, NopEventHandler,
        event::{
            AcquireEvent, CheckinEvent, CheckoutEvent, HandleEvent, ReleaseEvent, TimeoutEvent,
        },
    },
};
#[cfg(feature = "deadpool-diesel")]
use std::time::Instant;
use txsafe::{driver::Takers, guard::checkout_timed_out};

/// What findings call a pool of r2d2.
const R2D2: &str = "a pool of r2d2";

/// The builder of an r2d2 pool that reports to the guard every connection that is taken from it: in a transaction it is a
/// second one, and a finding ([`TXS005`](txsafe::guard::Code::SecondConnection)).
///
/// It takes the place of `Pool::builder()`. All other options are set on it as usual, `connection_customizer` included, but
/// for `event_handler`: give yours to [`pool_builder_with`]. r2d2 keeps one event handler. One that is set on this builder
/// takes the place of ours, and the pool reports nothing.
///
/// r2d2 sends no event for `try_get`, and the guard doesn't see it.
///
/// # Examples
/// ```
/// use diesel::r2d2::ConnectionManager;
/// use txsafe_diesel::blocking::{Database, pool_builder};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = ConnectionManager::new("postgres://shop@localhost/shop");
/// let pool = pool_builder().max_size(8).min_idle(Some(0)).build_unchecked(manager);
/// let db = Database::builder(pool).build()?;
/// # let _ = db;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn pool_builder() -> Builder<ConnectionManager<PgConnection>> {
    pool_builder_with(Box::new(NopEventHandler))
}

/// [`pool_builder`] of a pool that calls this handler, too: for every event, after the guard has noted the checkout.
///
/// # Examples
/// ```
/// use diesel::r2d2::{ConnectionManager, event::{CheckoutEvent, HandleEvent}};
/// use txsafe_diesel::blocking::pool_builder_with;
///
/// #[derive(Debug)]
/// struct Slow;
///
/// impl HandleEvent for Slow {
///     fn handle_checkout(&self, event: CheckoutEvent) {
///         if event.duration().as_millis() > 100 {
///             eprintln!("waited {:?} for a connection", event.duration());
///         }
///     }
/// }
///
/// let manager = ConnectionManager::new("postgres://shop@localhost/shop");
/// let builder = pool_builder_with(Box::new(Slow)).max_size(8).min_idle(Some(0));
/// let pool = builder.build_unchecked(manager);
/// # let _ = pool;
/// ```
#[must_use]
pub fn pool_builder_with(
    event_handler: Box<dyn HandleEvent>,
) -> Builder<ConnectionManager<PgConnection>> {
    let takers = Takers::new(R2D2, true);
    Builder::new().event_handler(Box::new(Teller { takers, next: event_handler }))
}

/// Reports the events of an r2d2 pool to the guard. The pool calls it on the thread that takes a connection; then it calls the
/// application's handler.
#[derive(Debug)]
struct Teller {
    takers: Takers,
    next: Box<dyn HandleEvent>,
}

impl HandleEvent for Teller {
    fn handle_acquire(&self, event: AcquireEvent) {
        self.next.handle_acquire(event);
    }

    fn handle_release(&self, event: ReleaseEvent) {
        self.takers.given_back(event.connection_id());
        self.next.handle_release(event);
    }

    fn handle_checkout(&self, event: CheckoutEvent) {
        self.takers.taken(event.connection_id());
        self.next.handle_checkout(event);
    }

    fn handle_timeout(&self, event: TimeoutEvent) {
        self.takers.timed_out();
        checkout_timed_out(R2D2, event.timeout());
        self.next.handle_timeout(event);
    }

    fn handle_checkin(&self, event: CheckinEvent) {
        self.takers.given_back(event.connection_id());
        self.next.handle_checkin(event);
    }
}

/// Has a pool of deadpool-diesel report to the guard every connection that is taken from it: in a transaction it is a second
/// one, and a finding ([`TXS005`](txsafe::guard::Code::SecondConnection)).
///
/// It adds a `pre_recycle` and a `post_create` hook. deadpool keeps all hooks, and runs those of a kind in the order in which
/// they were added: yours may be added before or behind. The `post_create` hook observes each new connection, so an instrumentation
/// of your own is added by [`chain_instrumentation`](crate::blocking::chain_instrumentation).
///
/// # Examples
/// ```
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
/// ```
#[cfg(feature = "deadpool-diesel")]
pub fn watched(builder: PoolBuilder) -> PoolBuilder {
    let takers = Takers::new("a pool of deadpool-diesel", false);
    let start = Instant::now();
    // A connection is known by when it was made: no two are made in one nanosecond.
    let number_of = move |metrics: &Metrics| {
        let made = metrics.created.saturating_duration_since(start).as_nanos();
        u64::try_from(made).unwrap_or(u64::MAX)
    };
    let recycled = takers.clone();
    // Recycling asks the server, and another finding reports whatever waits: so this one is reported before. Making a connection
    // waits, too, and no hook comes before that.
    let recycled = Hook::sync_fn(move |_, metrics| {
        recycled.taken(number_of(metrics));
        Ok(())
    });
    let made = Hook::sync_fn(move |conn: &mut Connection<PgConnection>, metrics| {
        let number = number_of(metrics);
        // A connection with an instrumentation that txsafe doesn't replace stays off the list.
        if let Ok(mut conn) = conn.lock()
            && let Ok(link) = Observer::link_of(&mut *conn, Link::default)
        {
            link.set_tracked(takers.track_as(number));
        }
        takers.taken(number);
        Ok(())
    });
    builder.pre_recycle(recycled).post_create(made)
}
