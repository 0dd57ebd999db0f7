//! One blocking transaction: where its connections come from, and the caller's closure.

use super::database::BlockingDatabase;
use crate::{
    dialect::failure::Failure,
    driver::{
        asynchronous::Slot,
        blocking::{BlockingDriver, BlockingHeld},
        session::{Question, SessionOptions, Work},
    },
    error::Error,
    guard::pool::Pool,
    locks::relation::{LockOrder, Unlocked},
    telemetry::pool::PoolState,
};
use futures_util::future::{BoxFuture, ready};
use std::{marker::PhantomData, rc::Rc, time::Duration};

/// A closure over connections of a pool, or over one that the caller holds.
pub(crate) struct BlockingWork<'a, D: BlockingDriver, O, F, T, E> {
    db: &'a BlockingDatabase<D, O>,
    /// The caller's connection, if it is to be that.
    slot: Option<Rc<Slot<D::Held<'a>>>>,
    body: F,
    returns: PhantomData<fn() -> Result<T, E>>,
}

impl<'a, D, O, F, T, E> BlockingWork<'a, D, O, F, T, E>
where
    D: BlockingDriver,
    O: LockOrder,
    F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
{
    pub(crate) fn new(db: &'a BlockingDatabase<D, O>, body: F) -> Self {
        Self { db, slot: None, body, returns: PhantomData }
    }

    /// On the caller's connection.
    pub(crate) fn on(self, held: D::Held<'a>) -> Self {
        Self { slot: Some(Rc::new(Slot::new(held))), ..self }
    }
}

impl<'a, D, O, F, T, E> Work for BlockingWork<'a, D, O, F, T, E>
where
    D: BlockingDriver,
    O: LockOrder,
    F: for<'c> FnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>,
    E: From<Error>,
{
    type Session = D::Session<'a>;
    type Value = T;
    type Error = E;

    fn open(&mut self, options: SessionOptions) -> Result<D::Session<'a>, Failure> {
        let BlockingDatabase { pool, known, .. } = self.db;
        let Some(slot) = &self.slot else { return D::checkout(pool, known, options) };
        let Some(held) = slot.take() else {
            unreachable!("the session before has put it back");
        };
        held.open(pool, known, Rc::clone(slot), options)
    }

    fn body(&mut self, session: &mut D::Session<'a>) -> Result<T, E> {
        D::run(session, &mut self.body)
    }

    fn sleep(&self, pause: Duration) {
        std::thread::sleep(pause);
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
        Some(Box::pin(ready(D::ask_beside(&self.0, Question { sql, binds: &binds }))))
    }
}
