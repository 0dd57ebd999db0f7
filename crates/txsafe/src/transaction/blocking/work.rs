//! One blocking transaction: where its connections come from, and the caller's closure.

use super::{database::BlockingDatabase, run::run};
use crate::{
    dialect::failure::Failure,
    driver::{
        asynchronous::Slot,
        blocking::{BlockingDriver, BlockingHeld},
        session::{CallersError, Question, SessionOptions, Source, Work},
    },
    error::Error,
    guard::pool::Pool,
    locks::relation::{LockOrder, Unlocked},
    telemetry::pool::PoolState,
    transaction::{call::Call, keyed::Keyed, returned::Returned},
};
use futures_util::future::{BoxFuture, ready};
use std::{sync::Arc, time::Duration};

/// A closure over connections of a pool, or over one that the caller holds. It knows the driver and nothing of the closure, so
/// that one run loop is compiled for all of them.
struct BlockingWork<'a, 'w, D: BlockingDriver> {
    pool: &'a D::Pool,
    known: &'a D::Known,
    /// The caller's connection, if it is to be that.
    slot: Option<Arc<Slot<D::Held<'a>>>>,
    body: &'w mut dyn AnyBody<D::Session<'a>>,
}

/// A closure of any type.
trait AnyBody<S> {
    /// Runs it, and keeps what it returned.
    fn run(&mut self, session: &mut S) -> Result<(), CallersError>;

    /// Forgets what it returned.
    fn forget(&mut self);
}

/// A closure over a session, and what it returned.
struct Kept<F, T, E> {
    body: F,
    returned: Returned<T, E>,
}

impl<S, F, T, E> AnyBody<S> for Kept<F, T, E>
where
    F: FnMut(&mut S) -> Result<T, E>,
{
    fn run(&mut self, session: &mut S) -> Result<(), CallersError> {
        self.returned.clear();
        self.returned.keep((self.body)(session))
    }

    fn forget(&mut self) {
        self.returned.clear();
    }
}

/// Runs a call: attempts, pauses, hooks. Connections are of the pool, or the caller's.
pub(crate) fn keyed<'a, D, O, F, T, E>(
    call: Call,
    db: &'a BlockingDatabase<D, O>,
    held: Option<D::Held<'a>>,
    mut body: F,
) -> Result<Keyed<T>, E>
where
    D: BlockingDriver,
    O: LockOrder,
    F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
    E: From<Error>,
{
    let body = |session: &mut D::Session<'a>| D::run(session, &mut body);
    let mut kept = Kept { body, returned: Returned::nothing() };
    let mut work = BlockingWork::<D> {
        pool: &db.pool,
        known: &db.known,
        slot: held.map(|held| Arc::new(Slot::new(held))),
        body: &mut kept,
    };
    let ended = run(call, &mut work);
    kept.returned.of(ended)
}

/// Runs a call that has no key.
pub(crate) fn unkeyed<'a, D, O, F, T, E>(
    call: Call,
    db: &'a BlockingDatabase<D, O>,
    held: Option<D::Held<'a>>,
    body: F,
) -> Result<T, E>
where
    D: BlockingDriver,
    O: LockOrder,
    F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
    E: From<Error>,
{
    keyed(call, db, held, body).map(Keyed::of_new)
}

impl<'a, D: BlockingDriver> Source for BlockingWork<'a, '_, D> {
    type Session = D::Session<'a>;

    fn open(&mut self, options: SessionOptions) -> Result<D::Session<'a>, Failure> {
        let Self { pool, known, .. } = *self;
        let Some(slot) = &self.slot else { return D::checkout(pool, known, options) };
        let Some(held) = slot.take() else {
            unreachable!("the session before has put it back");
        };
        held.open(pool, known, Arc::clone(slot), options)
    }

    fn sleep(&self, pause: Duration) {
        std::thread::sleep(pause);
    }
}

impl<'a, D: BlockingDriver> Work for BlockingWork<'a, '_, D> {
    fn body(&mut self, session: &mut D::Session<'a>) -> Result<(), CallersError> {
        self.body.run(session)
    }

    fn forget(&mut self) {
        self.body.forget();
    }
}

/// A closure that is called once, in the form of those that are called again.
pub(crate) fn again<D, O, T, E, F>(
    body: F,
) -> impl for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>
where
    D: BlockingDriver,
    O: LockOrder,
    F: for<'c> FnOnce(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
{
    let mut body = Some(body);
    move |tx: D::Tx<'_, O, Unlocked>| {
        let Some(body) = body.take() else {
            unreachable!("the run loop never runs a body of `transaction_once` again");
        };
        body(tx)
    }
}

/// A database as the guard sees it, reached through this pool.
pub(super) struct Reached<D: BlockingDriver>(pub(super) D::Pool);

impl<D: BlockingDriver> Pool for Reached<D> {
    fn state(&self) -> PoolState {
        D::state(&self.0)
    }

    fn max_size(&self) -> usize {
        D::max_size(&self.0)
    }

    fn ask(
        &self,
        sql: &'static str,
        binds: [String; 2],
    ) -> Option<BoxFuture<'static, Option<String>>> {
        let binds = [binds[0].as_str(), binds[1].as_str()];
        Some(Box::pin(ready(D::ask_beside(&self.0, Question::new(sql, &binds)))))
    }
}
