//! Messages that are written in the transaction, and delivered after it.

use crate::{
    asked::{Asked, AskedForRows},
    driver::{Database, Driver},
    failure::failure_of,
};
use futures_util::future::BoxFuture;
use txsafe::{
    Error, LockOrder, NoOrder,
    driver::{Locks, Question},
    outbox::{
        ask::{Ask, Rows},
        worker::AsyncHandler,
        write::Asks,
    },
};

/// Delivers messages of the outbox; set up by `db.outbox().worker()`.
pub type OutboxWorker<'a, O = NoOrder> = txsafe::OutboxWorker<Database<O>, AsyncHandler<'a>>;

impl Asks for Driver {
    fn rows<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
        ask: &'t Ask,
    ) -> BoxFuture<'t, Result<Rows, Error>> {
        Box::pin(async move {
            let binds = ask.binds();
            let question = Question::new(ask.sql(), &binds);
            let rows = AskedForRows(Asked(question)).ask(tx).await;
            rows.map_err(|error| failure_of(&error).into())
        })
    }
}
