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
use std::panic::Location;

/// For adapters: a blocking driver's database.
pub trait Store: Sync {
    /// Runs one statement in a transaction of its [name](Ask::transaction), with [these options](Ask::options), called
    /// at `place`.
    ///
    /// # Errors
    /// What became of the transaction.
    fn ask(&self, ask: &Ask, place: &'static Location<'static>) -> Result<Rows, Error>;
}

impl<D: AsyncDriver + Asks, O: LockOrder> Database<D, O> {
    /// The async twin of [`Store::ask`].
    pub(super) async fn ask(
        &self,
        ask: &Ask,
        place: &'static Location<'static>,
    ) -> Result<Rows, Error> {
        let call = Call::new(&self.shared, ask.transaction(), place, Some(&Ask::options()))?;
        let work = Work::new(Source::Pool(&self.pool), Asking(ask));
        unkeyed::<D, O, _, _, _>(call, work).await
    }
}

struct Asking<'a>(&'a Ask);

impl<D: AsyncDriver + Asks, O: LockOrder> Body<D, O, Rows, Error> for Asking<'_> {
    async fn run<'c>(&'c mut self, mut tx: D::Tx<'c, O, Unlocked>) -> Result<Rows, Error> {
        D::rows(&mut tx, self.0).await
    }
}
