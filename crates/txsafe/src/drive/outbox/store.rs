//! One statement of the outbox as a transaction of its own.

use super::{
    ask::{Ask, Rows},
    write::Asks,
};
use crate::{
    drive::{
        call::Call,
        configured::unkeyed,
        database::Database,
        driver::AsyncDriver,
        work::{Body, Source, Work},
    },
    hold::{
        error::Error,
        order::relation::{LockOrder, Unlocked},
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

impl<D: AsyncDriver + Asks, O: LockOrder> AsyncStore for Database<D, O> {
    async fn ask(&self, ask: &Ask, place: &'static Location<'static>) -> Result<Rows, Error> {
        let call = Call::new(&self.shared, ask.transaction(), place, Some(&ask.options()))?;
        let work = Work::new(Source::Pool(&self.pool), Asking(ask));
        unkeyed::<D, O, _, _, _>(call, work).await
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
