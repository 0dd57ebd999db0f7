//! A part of a transaction that can be rolled back by itself.

use super::{
    driver::Driver,
    pool::Pool,
    session::{Manager, depth},
    tx::{Parts, Tx},
};
use crate::{depth::release, failure::failure_of};
use diesel::connection::{SimpleConnection, TransactionManager};
use futures_util::future::BoxFuture;
use std::future::ready as made;
use txsafe::{
    Error, Failure, LockOrder,
    driver::{Locks, Savepoints},
};

impl<P: Pool> Savepoints for Driver<P> {
    fn set<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(made(Manager::begin_transaction(tx.parts().conn).map_err(failed)))
    }

    fn settle<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Option<Failure>> {
        let Parts { conn, seen, .. } = tx.parts();
        seen.refresh(conn);
        let standing = seen.standing(Manager::transaction_manager_status_mut(conn));
        Box::pin(made(standing.into_failure()))
    }

    fn release<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(made(Manager::commit_transaction(tx.parts().conn).map_err(failed)))
    }

    fn roll_back<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, ()> {
        let conn = tx.parts().conn;
        if Manager::rollback_transaction(conn).is_ok()
            && let Some(depth) = depth(conn)
        {
            // As in the async half.
            let _ = conn.batch_execute(&release(depth));
        }
        Box::pin(made(()))
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
