//! A part of a transaction that can be rolled back by itself.

use crate::{
    depth::{depth, release},
    driver::Driver,
    failure::failure_of,
    tx::Tx,
};
use diesel_async::{AnsiTransactionManager, SimpleAsyncConnection, TransactionManager};
use futures_util::future::BoxFuture;
use txsafe::{
    Error, Failure, LockOrder,
    driver::{Locks, Savepoints},
};

type Manager = AnsiTransactionManager;

impl Savepoints for Driver {
    fn set<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(async { Manager::begin_transaction(tx.parts().conn).await.map_err(failed) })
    }

    fn settle<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Option<Failure>> {
        let link = tx.parts().seen;
        Box::pin(async {
            link.settled().await;
            link.standing(true).into_failure()
        })
    }

    fn release<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(async { Manager::commit_transaction(tx.parts().conn).await.map_err(failed) })
    }

    fn roll_back<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, ()> {
        Box::pin(async {
            let conn = tx.parts().conn;
            if Manager::rollback_transaction(conn).await.is_ok()
                && let Some(depth) = depth(conn)
            {
                // Diesel leaves it set, and the next one inside it: each that fails would be another level.
                let _ = conn.batch_execute(&release(depth)).await;
            }
        })
    }

    fn lend<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> Tx<'t, O, Held> {
        Tx::new(tx.parts())
    }
}

fn failed(error: diesel::result::Error) -> Error {
    failure_of(&error).into()
}
