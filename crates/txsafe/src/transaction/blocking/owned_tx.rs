//! A transaction that its caller begins, and commits or rolls back by hand, on a blocking connection.

use super::{
    database::BlockingDatabase,
    finish::{deadline_passed, finish},
    run::follow,
    start::{Begun, start},
};
use crate::{
    clock::excused::{Excuse, Excusing},
    dialect::failure::Failure,
    driver::{
        blocking::OnThisThread,
        hooks::BlockingHook,
        savepoint::{Joinable, Savepoints},
        session::{CallersError, Session, SessionOptions, Source},
    },
    error::Error,
    locks::relation::{LockOrder, NoOrder, Unlocked},
    transaction::{
        by_hand::Ending, call::Call, keyed::Keyed, progress::Progress, returned::RunError,
    },
};
use std::{
    fmt,
    ops::{ControlFlow, Deref, DerefMut},
    panic::Location,
    sync::Arc,
    thread,
    time::Duration,
};

/// A transaction that its caller begins by [`BlockingDatabase::begin`], and ends by [`commit`](Self::commit) or
/// [`rollback`](Self::rollback): the blocking twin of [`OwnedTx`](crate::OwnedTx).
///
/// **Dropped, it is rolled back**, and its connection goes back to the pool. While the thread panics, its connection is closed
/// instead.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct BlockingOwnedTx<D: OnThisThread, O: LockOrder = NoOrder> {
    /// None once it has ended.
    open: Option<Box<Open<D, O>>>,
}

pub(super) struct Open<D: OnThisThread, O: LockOrder> {
    begun: Begun<D::Tx<'static, O, Unlocked>>,
    pub(super) progress: Progress<BlockingHook>,
    pool: FromPool<D>,
}

impl<D: OnThisThread, O: LockOrder> BlockingOwnedTx<D, O> {
    /// Commits.
    ///
    /// # Errors
    /// As [`OwnedTx::commit`](crate::OwnedTx::commit).
    ///
    /// # Panics
    /// As there.
    #[track_caller]
    pub fn commit(self) -> Result<(), Error> {
        self.into_open_at(Location::caller()).end_for_good(Ok(()))
    }

    /// Rolls back.
    ///
    /// # Errors
    /// As [`OwnedTx::rollback`](crate::OwnedTx::rollback).
    #[track_caller]
    pub fn rollback(self) -> Result<(), Error> {
        self.into_open_at(Location::caller()).end_for_good(Err(CallersError))
    }

    /// Lends the transaction by value; see [`OwnedTx::lend`](crate::OwnedTx::lend).
    #[track_caller]
    pub fn lend(&mut self) -> D::Tx<'_, O, Unlocked>
    where
        D: Savepoints,
    {
        D::lend(&mut **self)
    }

    /// Begins a transaction of this call.
    pub(crate) fn begin(call: Call, db: &BlockingDatabase<D, O>) -> Result<Keyed<Self>, Error> {
        Self::next(Progress::start(call.by_hand()?.once())?, db)
    }

    /// Tries to begin the next attempt, until one has begun or a bound ends it.
    pub(super) fn next(
        mut progress: Progress<BlockingHook>,
        db: &BlockingDatabase<D, O>,
    ) -> Result<Keyed<Self>, Error> {
        let _inside = progress.span.clone().entered();
        // To a transaction around it, of another database, that has been told.
        let _told = progress.course.nested.then(|| Excusing::start(Excuse::Told));
        let mut pool = FromPool::<D> { pool: db.pool.clone(), known: Arc::clone(&db.known) };
        loop {
            let plan = progress.next_attempt()?;
            let (ended, account) = match start(&mut progress, plan, &mut pool) {
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
            match follow(&mut progress, &mut pool, next) {
                ControlFlow::Continue(pause) => pool.sleep(pause.unwrap_or_default()),
                ControlFlow::Break(Err(RunError::Ours(error))) => return Err(error),
                ControlFlow::Break(Ok(Keyed::AlreadyCommitted)) => {
                    return Ok(Keyed::AlreadyCommitted);
                }
                ControlFlow::Break(Ok(Keyed::Ran(())) | Err(RunError::Callers)) => {
                    unreachable!("nothing has run yet")
                }
            }
        }
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

impl<D: OnThisThread, O: LockOrder> Open<D, O> {
    /// Ends it, and nothing of it is run again.
    fn end_for_good(mut self, result: Result<(), CallersError>) -> Result<(), Error> {
        self.progress.course.once = true;
        let (progress, ending) = self.end(result);
        progress.ended_by_hand(result, ending)
    }

    /// Ends the attempt. If its COMMIT is in doubt, and has a key, that is looked up until it tells.
    pub(super) fn end(self, result: Result<(), CallersError>) -> (Progress<BlockingHook>, Ending) {
        let Self { begun, mut progress, mut pool } = self;
        let _inside = progress.span.clone().entered();
        let _told = progress.course.nested.then(|| Excusing::start(Excuse::Told));
        let begun = begun.map(D::disown);
        let (ended, account) = if result.is_ok() && progress.has_expired() {
            deadline_passed(begun.session)
        } else {
            finish(&mut progress, begun, result)
        };
        let next = progress.conclude(ended, account);
        let mut ending = follow(&mut progress, &mut pool, next);
        while let ControlFlow::Continue(pause) = ending
            && progress.is_in_doubt()
        {
            pool.sleep(pause.unwrap_or_default());
            ending = look_for_key(&mut progress, &mut pool);
        }
        (progress, ending)
    }
}

/// Looks for the key of a COMMIT whose answer was lost, by the claim of another attempt, which is rolled back.
fn look_for_key<D: OnThisThread>(
    progress: &mut Progress<BlockingHook>,
    pool: &mut FromPool<D>,
) -> Ending {
    let plan = match progress.next_attempt() {
        Ok(plan) => plan,
        Err(error) => return ControlFlow::Break(Err(error.into())),
    };
    let next = match start(progress, plan, pool) {
        ControlFlow::Break((ended, account)) if progress.is_in_doubt() => {
            progress.conclude(ended, account)
        }
        // The key was new, so what was in doubt has rolled back; what failed behind that doesn't matter.
        ControlFlow::Break(_) => progress.commit_was_lost(),
        ControlFlow::Continue(begun) => {
            drop(finish(progress, begun, Err(CallersError)));
            progress.commit_was_lost()
        }
    };
    follow(progress, pool, next)
}

impl<D: OnThisThread, O: LockOrder> Deref for BlockingOwnedTx<D, O> {
    type Target = D::Tx<'static, O, Unlocked>;

    fn deref(&self) -> &Self::Target {
        &self.open().begun.session
    }
}

impl<D: OnThisThread, O: LockOrder> DerefMut for BlockingOwnedTx<D, O> {
    #[track_caller]
    fn deref_mut(&mut self) -> &mut Self::Target {
        let open = self.open.as_mut().unwrap_or_else(|| unreachable!("it has ended"));
        open.progress.used(Location::caller());
        &mut open.begun.session
    }
}

impl<D: OnThisThread + Savepoints, O: LockOrder> Joinable<D, O> for BlockingOwnedTx<D, O> {
    #[track_caller]
    fn lend(&mut self) -> D::Tx<'_, O, Unlocked> {
        Self::lend(self)
    }
}

impl<D: OnThisThread, O: LockOrder> Drop for BlockingOwnedTx<D, O> {
    fn drop(&mut self) {
        let Some(mut open) = self.open.take().map(|open| *open) else { return };
        // What is dropped here in a panic closes its connection.
        if !thread::panicking() {
            open.progress.course.once = true;
            drop(open.end(Err(CallersError)));
        }
    }
}

impl<D: OnThisThread, O: LockOrder> fmt::Debug for BlockingOwnedTx<D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.open.as_ref().map(|open| &open.progress.call);
        f.debug_tuple("BlockingOwnedTx").field(&call).finish()
    }
}

/// Connections of a pool, for a transaction that owns its own.
struct FromPool<D: OnThisThread> {
    pool: D::Pool,
    known: Arc<D::Known>,
}

impl<D: OnThisThread> Source for FromPool<D> {
    type Session = D::Session<'static>;

    fn open(&mut self, options: SessionOptions) -> Result<Self::Session, Failure> {
        D::checkout(&self.pool, &self.known, options)
    }

    fn sleep(&self, pause: Duration) {
        thread::sleep(pause);
    }
}
