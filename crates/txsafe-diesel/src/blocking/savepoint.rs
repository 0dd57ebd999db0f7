//! A part of a transaction that can be rolled back by itself.

use super::{driver::Driver, pool::Pool, session::Manager, tx::Tx};
use crate::failure::failure_of;
use diesel::connection::TransactionManager;
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
        Box::pin(made(Manager::begin_transaction(tx.parts().0).map_err(failed)))
    }

    fn settle<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Option<Failure>> {
        let (conn, _, link) = tx.parts();
        link.refresh(conn);
        let standing = link.standing(Manager::transaction_manager_status_mut(conn));
        Box::pin(made(standing.into_failure()))
    }

    fn release<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(made(Manager::commit_transaction(tx.parts().0).map_err(failed)))
    }

    fn roll_back<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, ()> {
        let _ = Manager::rollback_transaction(tx.parts().0);
        Box::pin(made(()))
    }

    fn lend<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> Tx<'t, O, Held> {
        let (conn, account, link) = tx.parts();
        Tx::new(conn, account, link)
    }
}

fn failed(error: diesel::result::Error) -> Error {
    failure_of(&error).into()
}
