//! One transaction: where its connections come from, and the caller's closure.

use crate::{checkout::checkout, held::Slot, session::Session, tx::Tx};
use diesel_async::{AsyncPgConnection, pooled_connection::deadpool::Pool};
use std::{
    future::Future,
    marker::PhantomData,
    sync::Arc,
    time::{Duration, Instant},
};
use txsafe::{
    AsyncFuncMut, AsyncFuncOnce, Error, Failure, decide::settings::Settings,
    drive::session::AsyncWork,
};

/// A closure over connections of a pool, or over one that the caller holds.
pub(crate) struct Work<'a, B, T, E> {
    source: Source<'a>,
    body: B,
    returns: PhantomData<fn() -> Result<T, E>>,
}

/// Where connections come from.
pub(crate) enum Source<'a> {
    Pool(&'a Pool<AsyncPgConnection>),
    Held(Arc<Slot<'a>>),
}

impl<'a, B, T, E> Work<'a, B, T, E> {
    pub(crate) fn new(source: Source<'a>, body: B) -> Self {
        Self { source, body, returns: PhantomData }
    }
}

/// A closure that can be run again.
pub(crate) struct Again<F>(pub(crate) F);

/// A closure that can be run once.
pub(crate) struct Once<F>(pub(crate) Option<F>);

/// The caller's closure, run on a transaction.
pub(crate) trait Body<T, E>: Send {
    fn run<'c>(&'c mut self, tx: Tx<'c>) -> impl Future<Output = Result<T, E>> + Send;
}

impl<F, T, E> Body<T, E> for Again<F>
where
    F: for<'c> AsyncFnMut(Tx<'c>) -> Result<T, E>
        + for<'c> AsyncFuncMut<Tx<'c>, Result<T, E>, Fut: Send>
        + Send,
    T: Send,
    E: Send,
{
    fn run<'c>(&'c mut self, tx: Tx<'c>) -> impl Future<Output = Result<T, E>> + Send {
        (self.0)(tx)
    }
}

impl<F, T, E> Body<T, E> for Once<F>
where
    F: for<'c> AsyncFnOnce(Tx<'c>) -> Result<T, E>
        + for<'c> AsyncFuncOnce<Tx<'c>, Result<T, E>, Fut: Send>
        + Send,
    T: Send,
    E: Send,
{
    fn run<'c>(&'c mut self, tx: Tx<'c>) -> impl Future<Output = Result<T, E>> + Send {
        let Some(body) = self.0.take() else {
            unreachable!("the run loop never runs a body of `transaction_once` again");
        };
        body(tx)
    }
}

impl<'a, B, T, E> AsyncWork for Work<'a, B, T, E>
where
    B: Body<T, E>,
    T: Send,
    E: From<Error> + Send,
{
    type Session = Session<'a>;
    type Value = T;
    type Error = E;

    async fn open(
        &mut self,
        settings: &Settings,
        deadline: Option<Instant>,
    ) -> Result<Session<'a>, Failure> {
        match &self.source {
            Source::Pool(pool) => {
                let object = checkout(pool, settings.checkout_timeout(), deadline).await?;
                Ok(Session::pooled(object, settings))
            }
            Source::Held(slot) => {
                let Some(held) = slot.take() else {
                    unreachable!("the session before has put it back");
                };
                Session::on_held(held, Arc::clone(slot), settings).await
            }
        }
    }

    fn body<'s>(
        &'s mut self,
        session: &'s mut Session<'a>,
    ) -> impl Future<Output = Result<T, E>> + Send {
        self.body.run(session.tx())
    }

    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(pause)
    }
}
