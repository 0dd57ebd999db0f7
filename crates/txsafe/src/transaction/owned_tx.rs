//! A transaction that its caller begins, and commits or rolls back by hand.

use super::{
    by_hand::Ending,
    call::Call,
    finish::{deadline_passed, finish},
    keyed::Keyed,
    progress::Progress,
    returned::RunError,
    run::{PATIENCE_AFTER_ERROR, follow, in_a_box},
    start::{Begun, start},
};
use crate::{
    dialect::failure::Failure,
    driver::{
        asynchronous::AsyncDriver,
        hooks::AsyncHook,
        savepoint::{Joinable, Savepoints},
        session::{AsyncSession, AsyncSource, CallersError, SessionOptions},
        spawn::spawn,
    },
    error::Error,
    locks::relation::{LockOrder, NoOrder, Unlocked},
};
use std::{
    fmt,
    future::Future,
    ops::{ControlFlow, Deref, DerefMut},
    panic::Location,
    thread,
    time::Duration,
};
use tracing::Instrument;

/// A transaction that its caller begins by [`Database::begin`](crate::Database::begin), and ends by [`commit`](Self::commit) or
/// [`rollback`](Self::rollback): for code that passes an open transaction around, where a closure doesn't fit.
///
/// It dereferences to `Tx`, so helpers that take `&mut Tx<'_>` get `&mut tx`, and statements run as they do in a closure. It is
/// `Send` and `'static`.
///
/// txsafe guards it as it guards a closure's transaction, with these differences. **It runs nothing again**;
/// [`Attempts`](crate::Attempts) is a loop that does. It doesn't see what the caller does between statements: the guard reports gaps
/// of 50 ms and more under [`Policy::staging`](crate::guard::Policy::staging), `dev` and `test`, and a transaction that idles under
/// every policy but `off`. It logs an order of locks that can deadlock as a warning, and reports no finding.
///
/// **Dropped, it is rolled back**, in the background, and its connection goes back to the pool; `after_rollback` hooks run there. If
/// a statement is in flight, a savepoint is open, the runtime is gone or the thread panics, its connection is closed at once instead.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct OwnedTx<D: AsyncDriver, O: LockOrder = NoOrder> {
    /// None once it has ended.
    open: Option<Box<Open<D, O>>>,
}

pub(super) struct Open<D: AsyncDriver, O: LockOrder> {
    begun: Begun<D::Tx<'static, O, Unlocked>>,
    pub(super) progress: Progress<AsyncHook>,
    pool: FromPool<D>,
}

impl<D: AsyncDriver, O: LockOrder> OwnedTx<D, O> {
    /// Commits.
    ///
    /// # Errors
    /// The transaction didn't commit, or its outcome is unknown: [`Error::outcome`] says which. So it is after a failed statement
    /// whose error was swallowed, and after `set_rollback_only`.
    ///
    /// # Panics
    /// If the guard found something that fails the transaction, under [`Policy::test`](crate::guard::Policy::test): it is
    /// rolled back.
    #[track_caller]
    pub fn commit(self) -> impl Future<Output = Result<(), Error>> + Send {
        self.into_open_at(Location::caller()).end_for_good(Ok(()))
    }

    /// Rolls back.
    ///
    /// # Errors
    /// Something of the transaction may have been committed: it was ended by a statement before, or something ran unseen and
    /// the server couldn't be asked. Or the connection was closed because it answered one request with the answer to another.
    #[track_caller]
    pub fn rollback(self) -> impl Future<Output = Result<(), Error>> + Send {
        self.into_open_at(Location::caller()).end_for_good(Err(CallersError))
    }

    /// Lends the transaction by value, which is how ranks are climbed: `tx.lend().at::<R>()`.
    ///
    /// The compiler checks the order of locks within one loan. From one loan to the next the transaction remembers what it holds:
    /// a lock against the order is then an error at run time, [`ErrorKind::LockOrder`](crate::ErrorKind::LockOrder). What it can't
    /// tell apart are two loans of different transactions at the same time: don't write by evidence of the other one's locks.
    #[track_caller]
    pub fn lend(&mut self) -> D::Tx<'_, O, Unlocked>
    where
        D: Savepoints,
    {
        D::lend(&mut **self)
    }

    /// Begins a transaction of this call.
    pub(crate) async fn begin(
        call: Result<Call, Error>,
        pool: D::Pool,
    ) -> Result<Keyed<Self>, Error> {
        let progress = Progress::start(call?.by_hand()?.once())?;
        Self::next(progress, pool).await
    }

    /// Tries to begin the next attempt, until one has begun or a bound ends it.
    pub(super) async fn next(
        mut progress: Progress<AsyncHook>,
        pool: D::Pool,
    ) -> Result<Keyed<Self>, Error> {
        let span = progress.span.clone();
        let mut pool = FromPool::<D>(pool);
        let attempts = in_a_box(async move {
            loop {
                // Its answer is waited for: a connection that was lost in its pool is replaced here, or nowhere.
                let plan = progress.next_attempt()?.awaiting_begin();
                let (ended, account) = match start(&mut progress, plan, &mut pool).await {
                    ControlFlow::Break(attempted) => attempted,
                    ControlFlow::Continue(mut begun) => {
                        let session = &mut begun.session;
                        let scope = progress.scope(session.connection(), session.account());
                        progress.leave_to_caller(scope);
                        let open = Open { begun: begun.map(D::own), progress, pool };
                        return Ok(Keyed::Ran(Self { open: Some(Box::new(open)) }));
                    }
                };
                let next = progress.conclude(ended, account);
                match follow(&mut progress, &mut pool, next).await {
                    ControlFlow::Continue(pause) => pool.sleep(pause.unwrap_or_default()).await,
                    ControlFlow::Break(Err(RunError::Ours(error))) => return Err(error),
                    ControlFlow::Break(Ok(Keyed::AlreadyCommitted)) => {
                        return Ok(Keyed::AlreadyCommitted);
                    }
                    ControlFlow::Break(Ok(Keyed::Ran(())) | Err(RunError::Callers)) => {
                        unreachable!("nothing has run yet")
                    }
                }
            }
        });
        attempts.instrument(span).await
    }

    /// The transaction itself, which is ended at this place.
    pub(super) fn into_open_at(mut self, at: &'static Location<'static>) -> Open<D, O> {
        let open = *self.open.take().unwrap_or_else(|| unreachable!("it has ended"));
        open.progress.ends(at);
        open
    }

    fn open(&self) -> &Open<D, O> {
        self.open.as_ref().unwrap_or_else(|| unreachable!("it has ended"))
    }
}

impl<D: AsyncDriver, O: LockOrder> Open<D, O> {
    /// Ends it, and nothing of it is run again.
    fn end_for_good(
        mut self,
        result: Result<(), CallersError>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        self.progress.course.once = true;
        async move {
            let (progress, ending) = self.end(result, None).await;
            progress.ended_by_hand(result, ending)
        }
    }

    /// Ends the attempt: waits at most `patience` for what is in flight, or as long as behind a closure. If its COMMIT is in doubt,
    /// and has a key, that is looked up until it tells.
    pub(super) fn end(
        self,
        result: Result<(), CallersError>,
        patience: Option<Duration>,
    ) -> impl Future<Output = (Progress<AsyncHook>, Ending)> + Send {
        let Self { begun, mut progress, mut pool } = self;
        let span = progress.span.clone();
        let begun = begun.map(D::disown);
        let ending = in_a_box(async move {
            let (ended, account) = if result.is_ok() && progress.has_expired() {
                deadline_passed(begun.session).await
            } else {
                let patience = patience.unwrap_or_else(|| match result {
                    Ok(()) => progress.settings().answer_timeout,
                    Err(CallersError) => PATIENCE_AFTER_ERROR,
                });
                finish(&mut progress, begun, result, patience).await
            };
            let next = progress.conclude(ended, account);
            let mut ending = follow(&mut progress, &mut pool, next).await;
            while let ControlFlow::Continue(pause) = ending
                && progress.is_in_doubt()
            {
                pool.sleep(pause.unwrap_or_default()).await;
                ending = look_for_key(&mut progress, &mut pool).await;
            }
            (progress, ending)
        });
        ending.instrument(span)
    }
}

/// Looks for the key of a COMMIT whose answer was lost, by the claim of another attempt, which is rolled back.
async fn look_for_key<D: AsyncDriver>(
    progress: &mut Progress<AsyncHook>,
    pool: &mut FromPool<D>,
) -> Ending {
    let plan = match progress.next_attempt() {
        Ok(plan) => plan.awaiting_begin(),
        Err(error) => return ControlFlow::Break(Err(error.into())),
    };
    let next = match start(progress, plan, pool).await {
        ControlFlow::Break((ended, account)) if progress.is_in_doubt() => {
            progress.conclude(ended, account)
        }
        // The key was new, so what was in doubt has rolled back; what failed behind that doesn't matter.
        ControlFlow::Break(_) => progress.commit_was_lost(),
        ControlFlow::Continue(begun) => {
            drop(finish(progress, begun, Err(CallersError), Duration::ZERO).await);
            progress.commit_was_lost()
        }
    };
    follow(progress, pool, next).await
}

impl<D: AsyncDriver, O: LockOrder> Deref for OwnedTx<D, O> {
    type Target = D::Tx<'static, O, Unlocked>;

    fn deref(&self) -> &Self::Target {
        &self.open().begun.session
    }
}

impl<D: AsyncDriver, O: LockOrder> DerefMut for OwnedTx<D, O> {
    #[track_caller]
    fn deref_mut(&mut self) -> &mut Self::Target {
        let open = self.open.as_mut().unwrap_or_else(|| unreachable!("it has ended"));
        open.progress.used(Location::caller());
        &mut open.begun.session
    }
}

impl<D: AsyncDriver + Savepoints, O: LockOrder> Joinable<D, O> for OwnedTx<D, O> {
    #[track_caller]
    fn lend(&mut self) -> D::Tx<'_, O, Unlocked> {
        Self::lend(self)
    }
}

impl<D: AsyncDriver, O: LockOrder> Drop for OwnedTx<D, O> {
    fn drop(&mut self) {
        let Some(mut open) = self.open.take().map(|open| *open) else { return };
        // What is dropped here in a panic closes its connection.
        if !thread::panicking() {
            open.progress.course.once = true;
            let end = open.end(Err(CallersError), Some(Duration::ZERO));
            spawn(Box::pin(async move { drop(end.await) }));
        }
    }
}

impl<D: AsyncDriver, O: LockOrder> fmt::Debug for OwnedTx<D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.open.as_ref().map(|open| &open.progress.call);
        f.debug_tuple("OwnedTx").field(&call).finish()
    }
}

/// Connections of a pool, for a transaction that owns its own.
struct FromPool<D: AsyncDriver>(D::Pool);

impl<D: AsyncDriver> AsyncSource for FromPool<D> {
    type Session = D::Session<'static>;

    fn open(
        &mut self,
        options: SessionOptions,
    ) -> impl Future<Output = Result<Self::Session, Failure>> + Send {
        D::checkout_owned(&self.0, options)
    }

    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        D::sleep(pause)
    }
}
