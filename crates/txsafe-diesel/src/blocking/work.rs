//! One transaction: where its connections come from, and the caller's closure.

use super::{
    database::Database,
    held::{Held, Slot},
    pool::{Pool, Sealed},
    session::{Lease, Session},
    tx::Tx,
};
use std::{
    cell::Cell,
    marker::PhantomData,
    rc::Rc,
    time::{Duration, Instant},
};
use txsafe::{
    Error, Failure, LockOrder, decide::settings::Settings, drive::session::Work as BlockingWork,
};

/// A closure over connections of a pool, or over one that the caller holds.
pub(crate) struct Work<'a, O, P: Pool, F, T, E> {
    db: &'a Database<O, P>,
    /// The caller's connection, if it is to be that.
    slot: Option<Slot<'a>>,
    body: F,
    returns: PhantomData<fn() -> Result<T, E>>,
}

impl<'a, O: LockOrder, P: Pool, F, T, E> Work<'a, O, P, F, T, E>
where
    F: for<'c> FnMut(Tx<'c, O>) -> Result<T, E>,
{
    pub(crate) fn new(db: &'a Database<O, P>, body: F) -> Self {
        Self { db, slot: None, body, returns: PhantomData }
    }

    /// On the caller's connection.
    pub(crate) fn on(self, held: Held<'a>) -> Self {
        Self { slot: Some(Rc::new(Cell::new(Some(held)))), ..self }
    }
}

impl<'a, O, P, F, T, E> BlockingWork for Work<'a, O, P, F, T, E>
where
    O: LockOrder,
    P: Pool,
    F: for<'c> FnMut(Tx<'c, O>) -> Result<T, E>,
    E: From<Error>,
{
    type Session = Session<'a, <P as Sealed>::Object>;
    type Value = T;
    type Error = E;

    fn open(
        &mut self,
        settings: &Settings,
        deadline: Option<Instant>,
    ) -> Result<Self::Session, Failure> {
        let Database { pool, language, .. } = self.db;
        let lease = match &self.slot {
            None => Lease::Pooled(pool.checkout(settings, deadline)?),
            Some(slot) => {
                let Some(mut held) = slot.take() else {
                    unreachable!("the session before has put it back");
                };
                if let Err(failure) = held.replace_if_lost(pool.r2d2(), settings, deadline) {
                    slot.set(Some(held));
                    return Err(failure);
                }
                Lease::Held(held, Rc::clone(slot))
            }
        };
        Session::new(lease, language, settings)
    }

    fn body(&mut self, session: &mut Self::Session) -> Result<T, E> {
        session.run(&mut self.body)
    }

    fn sleep(&self, pause: Duration) {
        std::thread::sleep(pause);
    }
}
