//! One transaction: where its connections come from, and the caller's closure.

use crate::{
    dialect::failure::Failure,
    driver::{
        asynchronous::{AsyncDriver, AsyncHeld, Slot},
        closure::{AsyncFuncMut, AsyncFuncOnce},
        session::{AsyncWork, SessionOptions},
    },
    error::Error,
    locks::{
        lock_set::{Holding, LockSet},
        relation::{LockOrder, Unlocked},
    },
};
use std::{future::Future, marker::PhantomData, panic::Location, sync::Arc, time::Duration};

/// A closure over connections of a pool, or over one that the caller holds.
pub(crate) struct Work<'a, D: AsyncDriver, O, B, T, E> {
    source: Source<'a, D>,
    body: B,
    order: PhantomData<fn() -> O>,
    returns: PhantomData<fn() -> Result<T, E>>,
}

/// Where connections come from.
pub(crate) enum Source<'a, D: AsyncDriver> {
    Pool(&'a D::Pool),
    Held(&'a D::Pool, Arc<Slot<D::Held<'a>>>),
}

impl<'a, D: AsyncDriver, O, B, T, E> Work<'a, D, O, B, T, E> {
    pub(crate) fn new(source: Source<'a, D>, body: B) -> Self {
        Self { source, body, order: PhantomData, returns: PhantomData }
    }
}

/// A closure that can be run again.
pub(crate) struct Again<F>(pub(crate) F);

/// A closure that can be run once.
pub(crate) struct Once<F>(pub(crate) Option<F>);

/// The caller's closure, run on a transaction.
pub(crate) trait Body<D: AsyncDriver, O: LockOrder, T, E>: Send {
    fn run<'c>(
        &'c mut self,
        tx: D::Tx<'c, O, Unlocked>,
    ) -> impl Future<Output = Result<T, E>> + Send;
}

impl<D, O, F, T, E> Body<D, O, T, E> for Again<F>
where
    D: AsyncDriver,
    O: LockOrder,
    F: for<'c> AsyncFnMut(D::Tx<'c, O, Unlocked>) -> Result<T, E>
        + for<'c> AsyncFuncMut<D::Tx<'c, O, Unlocked>, Result<T, E>, Fut: Send>
        + Send,
    T: Send,
    E: Send,
{
    fn run<'c>(
        &'c mut self,
        tx: D::Tx<'c, O, Unlocked>,
    ) -> impl Future<Output = Result<T, E>> + Send {
        (self.0)(tx)
    }
}

impl<D, O, F, T, E> Body<D, O, T, E> for Once<F>
where
    D: AsyncDriver,
    O: LockOrder,
    F: for<'c> AsyncFnOnce(D::Tx<'c, O, Unlocked>) -> Result<T, E>
        + for<'c> AsyncFuncOnce<D::Tx<'c, O, Unlocked>, Result<T, E>, Fut: Send>
        + Send,
    T: Send,
    E: Send,
{
    fn run<'c>(
        &'c mut self,
        tx: D::Tx<'c, O, Unlocked>,
    ) -> impl Future<Output = Result<T, E>> + Send {
        let Some(body) = self.0.take() else {
            unreachable!("the run loop never runs a body of `transaction_once` again");
        };
        body(tx)
    }
}

/// A closure that can be run again, on a transaction that holds a set of locks.
pub(crate) struct Locking<S, F>(pub(crate) S, pub(crate) F, pub(crate) &'static Location<'static>);

impl<D, O, S, F, T, E> Body<D, O, T, E> for Locking<S, F>
where
    D: AsyncDriver,
    O: LockOrder,
    S: LockSet<D, O, Unlocked>,
    F: for<'c> AsyncFnMut(Holding<'c, D, O, S>) -> Result<T, E>
        + for<'c> AsyncFuncMut<Holding<'c, D, O, S>, Result<T, E>, Fut: Send>
        + Send,
    T: Send,
    E: From<Error> + Send,
{
    async fn run<'c>(&'c mut self, tx: D::Tx<'c, O, Unlocked>) -> Result<T, E> {
        let Self(set, body, at) = self;
        body(Holding::lock(tx, set, at).await?).await
    }
}

impl<'a, D, O, B, T, E> AsyncWork for Work<'a, D, O, B, T, E>
where
    D: AsyncDriver,
    O: LockOrder,
    B: Body<D, O, T, E>,
    T: Send,
    E: From<Error> + Send,
{
    type Session = D::Session<'a>;
    type Value = T;
    type Error = E;

    async fn open(&mut self, options: SessionOptions) -> Result<D::Session<'a>, Failure> {
        match &self.source {
            Source::Pool(pool) => D::checkout(pool, options).await,
            Source::Held(pool, slot) => {
                let Some(held) = slot.take() else {
                    unreachable!("the session before has put it back");
                };
                held.open(pool, Arc::clone(slot), options).await
            }
        }
    }

    fn body<'s>(
        &'s mut self,
        session: &'s mut D::Session<'a>,
    ) -> impl Future<Output = Result<T, E>> + Send {
        self.body.run(D::tx(session))
    }

    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        D::sleep(pause)
    }
}
