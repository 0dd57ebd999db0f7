//! Messages that are written in the transaction, and delivered after it.

use crate::{
    driver::{Database, Driver},
    failure::failure_of,
};
use futures_util::future::BoxFuture;
use txsafe::{
    Error, LockOrder, NoOrder,
    driver::Locks,
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
            let mut query = sqlx::query_scalar(ask.sql());
            for bind in ask.binds() {
                query = query.bind(bind);
            }
            query.fetch_all(tx).await.map_err(|error| failure_of(&error).into())
        })
    }
}
