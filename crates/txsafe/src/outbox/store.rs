//! One statement of the outbox as a transaction of its own.

use super::{
    ask::{Ask, Rows},
    write::Asks,
};
#[cfg(feature = "tokio")]
use crate::{driver::blocking::OnBlockingThreads, transaction::blocking::interact::on_a_thread};
use crate::{
    driver::{
        asynchronous::AsyncDriver,
        blocking::{BlockingDriver, OnThisThread},
    },
    error::Error,
    locks::{
        lock::ready,
        relation::{LockOrder, Unlocked},
    },
    transaction::{
        blocking::{database::BlockingDatabase, work::unkeyed as unkeyed_blocking},
        call::Call,
        database::Database,
        work::{Body, Source, unkeyed},
    },
};
use std::{future::Future, panic::Location, time::Duration};

/// A database whose outbox is read and delivered from async code.
pub trait AsyncStore: Send + Sync {
    /// Runs one statement in a transaction of its [name](Ask::transaction), with [its options](Ask::options), called at
    /// `place`.
    ///
    /// # Errors
    /// What became of the transaction.
    fn ask(
        &self,
        ask: &Ask,
        place: &'static Location<'static>,
    ) -> impl Future<Output = Result<Rows, Error>> + Send;

    /// Sleeps.
    fn sleep(pause: Duration) -> impl Future<Output = ()> + Send + 'static;
}

/// The blocking twin of [`AsyncStore`], of a database that is [`Blocking`].
pub trait Store: Sync {
    /// See [`AsyncStore::ask`].
    ///
    /// # Errors
    /// As there.
    fn ask(&self, ask: &Ask, place: &'static Location<'static>) -> Result<Rows, Error>;
}

/// A database whose outbox is read and delivered on threads that may block.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "adapters make it")]
pub struct Blocking<S>(pub S);

/// A blocking driver whose outbox is written and read.
pub trait BlockingAsks: BlockingDriver + Asks {
    /// How the outbox of its database is delivered: on threads that may block, or from async code.
    type Store<O: LockOrder>: From<BlockingDatabase<Self, O>>
    where
        Self: Sized;
}

impl<D: AsyncDriver + Asks, O: LockOrder> AsyncStore for Database<D, O> {
    async fn ask(&self, ask: &Ask, place: &'static Location<'static>) -> Result<Rows, Error> {
        let call = Call::new(&self.shared, ask.transaction(), place, Some(&ask.options()))?;
        let ask = ask.clone().in_schema(self.shared.own_schema.as_ref());
        unkeyed::<D, O, _, _, _>(call.own(), Source::Pool(&self.pool), Asking(&ask)).await
    }

    fn sleep(pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        D::sleep(pause)
    }
}

struct Asking<'a>(&'a Ask);

impl<D: AsyncDriver + Asks, O: LockOrder> Body<D, O, Rows, Error> for Asking<'_> {
    async fn run<'c>(&'c mut self, mut tx: D::Tx<'c, O, Unlocked>) -> Result<Rows, Error> {
        D::rows(&mut tx, self.0).await
    }
}

impl<S> From<S> for Blocking<S> {
    fn from(database: S) -> Self {
        Self(database)
    }
}

impl<D: OnThisThread + Asks, O: LockOrder> Store for BlockingDatabase<D, O> {
    fn ask(&self, ask: &Ask, place: &'static Location<'static>) -> Result<Rows, Error> {
        ask_blocking(self, ask, place)
    }
}

#[cfg(feature = "tokio")]
impl<D: OnBlockingThreads + Asks, O: LockOrder> AsyncStore for BlockingDatabase<D, O> {
    fn ask(
        &self,
        ask: &Ask,
        place: &'static Location<'static>,
    ) -> impl Future<Output = Result<Rows, Error>> + Send {
        let (db, ask) = (self.clone(), ask.clone());
        on_a_thread(move || ask_blocking(&db, &ask, place))
    }

    fn sleep(pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(pause)
    }
}

/// One statement of the outbox in a transaction of its own.
fn ask_blocking<D: BlockingDriver + Asks, O: LockOrder>(
    db: &BlockingDatabase<D, O>,
    ask: &Ask,
    place: &'static Location<'static>,
) -> Result<Rows, Error> {
    let call = Call::new(&db.shared, ask.transaction(), place, Some(&ask.options()))?;
    let ask = ask.clone().in_schema(db.shared.own_schema.as_ref());
    let body = |mut tx: D::Tx<'_, O, Unlocked>| ready(D::rows(&mut tx, &ask));
    unkeyed_blocking::<D, O, _, _, _>(call.own(), db, None, body)
}
