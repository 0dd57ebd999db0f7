//! Messages that are written in the transaction, and delivered after it.

#[cfg(feature = "deadpool-diesel")]
use super::deadpool::DeadpoolPool;
use super::{
    driver::{Database, Driver},
    pool::Pool,
};
use crate::{
    asked::{Asked, AskedForRows},
    failure::failure_of,
};
use futures_util::future::BoxFuture;
use std::future::ready as made;
use txsafe::{
    Error, LockOrder, NoOrder,
    driver::{Locks, Question},
    outbox::{
        ask::{Ask, Rows},
        store::{Blocking, BlockingAsks},
        worker::BlockingHandler,
        write::Asks,
    },
};

/// Delivers messages of the outbox; set up by `db.outbox().worker()`.
pub type OutboxWorker<'a, O = NoOrder> =
    txsafe::OutboxWorker<Blocking<Database<O>>, BlockingHandler<'a>>;

/// Delivers messages of the outbox by async handlers, over a pool of deadpool-diesel; set up by `db.outbox().worker()`.
#[cfg(feature = "deadpool-diesel")]
pub type InteractOutboxWorker<'a, O = NoOrder> =
    txsafe::OutboxWorker<Database<O, DeadpoolPool>, txsafe::outbox::worker::AsyncHandler<'a>>;

impl<P: Pool> Asks for Driver<P> {
    fn rows<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
        ask: &'t Ask,
    ) -> BoxFuture<'t, Result<Rows, Error>> {
        let binds = ask.binds();
        let question = Question::new(ask.sql(), &binds);
        let rows = AskedForRows(Asked(question)).ask_blocking(tx);
        Box::pin(made(rows.map_err(|error| failure_of(&error).into())))
    }
}

impl BlockingAsks for Driver {
    type Store<O: LockOrder> = Blocking<Database<O>>;
}

#[cfg(feature = "deadpool-diesel")]
impl BlockingAsks for Driver<DeadpoolPool> {
    type Store<O: LockOrder> = Database<O, DeadpoolPool>;
}
