//! One transaction: where its connections come from, and the caller's closure.

#[cfg(feature = "sandbox")]
use super::sandbox::{Inside, Work as InSandbox};
use super::{
    call::Call,
    keyed::Keyed,
    returned::Returned,
    run::{in_a_box, run},
};
use crate::{
    dialect::failure::Failure,
    driver::{
        asynchronous::{AsyncDriver, AsyncHeld, Slot},
        closure::{AsyncFuncMut, AsyncFuncOnce},
        session::{AsyncSource, AsyncWork, CallersError, SessionOptions},
    },
    error::Error,
    locks::{
        lock_set::{Holding, LockSet},
        relation::{LockOrder, Unlocked},
    },
};
use futures_util::future::BoxFuture;
use std::{future::Future, marker::PhantomData, panic::Location, sync::Arc, time::Duration};

/// A closure over connections of a pool, or over one that the caller holds. It knows the driver and nothing of the closure, so
/// that one run loop is compiled for all of them.
struct Work<'a, 'w, D: AsyncDriver> {
    source: Source<'a, D>,
    body: &'w mut dyn AnyBody<'a, D>,
}

/// Where connections come from.
pub(crate) enum Source<'a, D: AsyncDriver> {
    Pool(&'a D::Pool),
    Held(&'a D::Pool, Arc<Slot<D::Held<'a>>>),
    /// One connection for all.
    #[cfg(feature = "sandbox")]
    Sandbox(Arc<Inside<D>>),
}

/// Runs a call: attempts, pauses, hooks.
pub(crate) async fn keyed<D, O, B, T, E>(
    call: Call,
    source: Source<'_, D>,
    body: B,
) -> Result<Keyed<T>, E>
where
    D: AsyncDriver,
    O: LockOrder,
    B: Body<D, O, T, E>,
    T: Send,
    E: From<Error> + Send,
{
    let mut body = Kept { body, returned: Returned::nothing(), order: PhantomData::<fn() -> O> };
    let ended = match source {
        #[cfg(feature = "sandbox")]
        Source::Sandbox(inside) => {
            let call = Call { in_sandbox: true, ..call };
            run(call, &mut InSandbox { inside, body: &mut body }).await
        }
        source => run(call, &mut Work { source, body: &mut body }).await,
    };
    body.returned.of(ended)
}

/// Runs a call that has no key.
pub(crate) async fn unkeyed<D, O, B, T, E>(
    call: Call,
    source: Source<'_, D>,
    body: B,
) -> Result<T, E>
where
    D: AsyncDriver,
    O: LockOrder,
    B: Body<D, O, T, E>,
    T: Send,
    E: From<Error> + Send,
{
    keyed(call, source, body).await.map(Keyed::of_new)
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

/// A closure, and what it returned.
struct Kept<B, O, T, E> {
    body: B,
    returned: Returned<T, E>,
    order: PhantomData<fn() -> O>,
}

/// A closure of any type.
pub(super) trait AnyBody<'a, D: AsyncDriver>: Send {
    /// Runs it, and keeps what it returned.
    fn run<'s>(
        &'s mut self,
        session: &'s mut D::Session<'a>,
    ) -> BoxFuture<'s, Result<(), CallersError>>;

    /// Forgets what it returned.
    fn forget(&mut self);
}

impl<'a, D, O, B, T, E> AnyBody<'a, D> for Kept<B, O, T, E>
where
    D: AsyncDriver,
    O: LockOrder,
    B: Body<D, O, T, E>,
    T: Send,
    E: Send,
{
    fn run<'s>(
        &'s mut self,
        session: &'s mut D::Session<'a>,
    ) -> BoxFuture<'s, Result<(), CallersError>> {
        let Self { body, returned, .. } = self;
        returned.clear();
        in_a_box(async move { returned.keep(body.run(D::tx(session)).await) })
    }

    fn forget(&mut self) {
        self.returned.clear();
    }
}

impl<'a, D: AsyncDriver> AsyncSource for Source<'a, D> {
    type Session = D::Session<'a>;

    async fn open(&mut self, options: SessionOptions) -> Result<D::Session<'a>, Failure> {
        match self {
            Source::Pool(pool) => D::checkout(pool, options).await,
            Source::Held(pool, slot) => {
                let Some(held) = slot.take() else {
                    unreachable!("the session before has put it back");
                };
                held.open(pool, Arc::clone(slot), options).await
            }
            #[cfg(feature = "sandbox")]
            Source::Sandbox(_) => unreachable!("it has a work of its own"),
        }
    }

    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        D::sleep(pause)
    }

    fn deadline(&self, after: Duration) -> impl Future<Output = ()> + Send + 'static {
        D::deadline(after)
    }
}

impl<'a, D: AsyncDriver> AsyncSource for Work<'a, '_, D> {
    type Session = D::Session<'a>;

    async fn open(&mut self, options: SessionOptions) -> Result<D::Session<'a>, Failure> {
        self.source.open(options).await
    }

    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        D::sleep(pause)
    }

    fn deadline(&self, after: Duration) -> impl Future<Output = ()> + Send + 'static {
        D::deadline(after)
    }
}

impl<'a, D: AsyncDriver> AsyncWork for Work<'a, '_, D> {
    fn body<'s>(
        &'s mut self,
        session: &'s mut D::Session<'a>,
    ) -> impl Future<Output = Result<(), CallersError>> + Send {
        self.body.run(session)
    }

    fn forget(&mut self) {
        self.body.forget();
    }
}
