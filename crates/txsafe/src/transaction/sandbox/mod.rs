//! A sandbox: transactions of a test that run as savepoints of one that is rolled back.
//!
//! `session.rs` is a session whose begin, commit and rollback are those of a savepoint, so the run loop, and with it retries, keys
//! and hooks, is the one of production.

mod outer;
mod session;

use self::{
    outer::{Outer, SavepointCalls},
    session::InSandbox,
};
use super::{call::Call, database::Database, work::AnyBody};
use crate::{
    dialect::failure::Failure,
    driver::{
        asynchronous::AsyncDriver,
        hooks::{AsyncHook, run_async},
        savepoint::Savepoints,
        session::{AsyncSource, AsyncWork, CallersError, SessionOptions},
    },
    error::Error,
    invalid::InvalidSetting,
    locks::relation::LockOrder,
    telemetry::events,
};
use futures_util::lock::Mutex;
use std::{
    fmt,
    future::Future,
    ops::Deref,
    panic::Location,
    sync::{Arc, Mutex as BlockingMutex, PoisonError},
    time::Duration,
};

/// A database for one test, whose transactions run as savepoints of one transaction that is never committed; made by
/// [`Database::sandbox`].
///
/// It dereferences to the [`Database`] that handlers take. Everything runs on one connection: transactions that begin at the same
/// time run one after the other, each for as long as the next one waits for a connection. When the value and its
/// clones of the database are dropped, or by [`close`](Self::close), all of it is rolled back.
pub struct Sandbox<D: AsyncDriver, O> {
    db: Database<D, O>,
    inside: Arc<Inside<D>>,
}

/// What the transactions of one sandbox share.
pub(crate) struct Inside<D: AsyncDriver> {
    outer: Arc<Mutex<Outer<D>>>,
    calls: SavepointCalls<D>,
    captured: Option<BlockingMutex<Vec<AsyncHook>>>,
}

impl<D: AsyncDriver + Savepoints, O: LockOrder> Database<D, O> {
    /// Opens a [`Sandbox`] on a connection of the pool. `after_commit` hooks run when their transaction has ended, as if it had
    /// committed.
    ///
    /// # Errors
    /// No connection came free in time, or BEGIN failed.
    #[track_caller]
    pub fn sandbox(&self) -> impl Future<Output = Result<Sandbox<D, O>, Error>> + Send {
        let place = Location::caller();
        self.open_sandbox(place, None)
    }

    /// Opens a [`Sandbox`] that keeps `after_commit` hooks until [`Sandbox::run_hooks`].
    ///
    /// # Errors
    /// As for [`sandbox`](Self::sandbox).
    #[track_caller]
    pub fn sandbox_capturing_hooks(
        &self,
    ) -> impl Future<Output = Result<Sandbox<D, O>, Error>> + Send {
        let place = Location::caller();
        self.open_sandbox(place, Some(BlockingMutex::default()))
    }

    async fn open_sandbox(
        &self,
        place: &'static Location<'static>,
        captured: Option<BlockingMutex<Vec<AsyncHook>>>,
    ) -> Result<Sandbox<D, O>, Error> {
        let call = Call::new(&self.shared, "sandbox", place, None)?;
        let outer = Outer::begin(&self.pool, &call).await?;
        let inside = Arc::new(Inside {
            outer: Arc::new(Mutex::new(outer)),
            calls: SavepointCalls::of_driver(),
            captured,
        });
        let mut db = self.clone();
        db.sandbox = Some(Arc::clone(&inside));
        Ok(Sandbox { db, inside })
    }
}

impl<D: AsyncDriver, O> Sandbox<D, O> {
    /// How many `after_commit` hooks wait for [`run_hooks`](Self::run_hooks); 0 where they aren't captured.
    #[must_use]
    pub fn captured_hooks(&self) -> usize {
        self.inside.hooks(|hooks| hooks.len())
    }

    /// Runs the captured `after_commit` hooks, in their order; returns how many there were. One that fails or panics is reported as
    /// it is behind a COMMIT.
    pub async fn run_hooks(&self) -> usize {
        let hooks = self.inside.hooks(std::mem::take);
        let (count, name) = (hooks.len(), Arc::from("sandbox"));
        run_async(hooks, |message| events::hook_failed(&name, message)).await;
        count
    }

    /// Rolls back, and waits for that. The connection goes back to its pool; if the last transaction was dropped or panicked, it is
    /// closed.
    ///
    /// A transaction that runs is waited for, and one that begins later fails.
    ///
    /// # Errors
    /// ROLLBACK failed: the connection was closed instead.
    pub async fn close(self) -> Result<(), Error> {
        self.inside.outer.lock().await.end().await
    }
}

impl<D: AsyncDriver> Inside<D> {
    fn hooks<T: Default>(&self, take: impl FnOnce(&mut Vec<AsyncHook>) -> T) -> T {
        self.captured.as_ref().map_or_else(T::default, |captured| {
            take(&mut captured.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}

impl<D: AsyncDriver, O> Deref for Sandbox<D, O> {
    type Target = Database<D, O>;

    fn deref(&self) -> &Database<D, O> {
        &self.db
    }
}

impl<D: AsyncDriver, O> fmt::Debug for Sandbox<D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

/// The error of a call that would begin a transaction outside of the sandbox.
pub(super) fn refused(call: &Call) -> Error {
    let cure = "in a sandbox it would be committed: let the code under test call `transaction`, or give its test a database of its own";
    InvalidSetting::new("sandbox", format!("{:?}", call.named.name), cure).into()
}

/// A closure over the sandbox's connection.
pub(super) struct Work<'w, D: AsyncDriver> {
    pub(super) inside: Arc<Inside<D>>,
    pub(super) body: &'w mut dyn AnyBody<'static, D>,
}

impl<D: AsyncDriver> AsyncSource for Work<'_, D> {
    type Session = InSandbox<D>;

    async fn open(&mut self, options: SessionOptions) -> Result<InSandbox<D>, Failure> {
        InSandbox::open(Arc::clone(&self.inside), options).await
    }

    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        D::sleep(pause)
    }
}

impl<D: AsyncDriver> AsyncWork for Work<'_, D> {
    async fn body(&mut self, session: &mut InSandbox<D>) -> Result<(), CallersError> {
        self.body.run(session.connection_of_all()?).await
    }

    fn forget(&mut self) {
        self.body.forget();
    }
}
