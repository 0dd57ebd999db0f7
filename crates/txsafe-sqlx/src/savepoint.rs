//! A part of a transaction that can be rolled back by itself.

use crate::{
    driver::Driver,
    engine::{Engine, Manager},
    observed::Observed,
    session::{depth, settle},
    tx::{Parts, Tx},
};
use futures_util::future::BoxFuture;
use sqlx_core::transaction::TransactionManager;
use std::sync::Arc;
use txsafe::{
    Error, Failure, LockOrder,
    driver::{Locks, Savepoints},
};

impl<DB: Engine> Savepoints for Driver<DB> {
    fn set<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(async {
            let Parts { conn, seen: observed, .. } = tx.parts();
            let calls = Arc::clone(observed.calls());
            settle::<DB>(conn, observed).await;
            if let Some(failure) = observed.refuses_savepoint() {
                return Err(failure.clone().into());
            }
            observed.enter_flux();
            let set = calls.waiting(Manager::<DB>::begin(conn, None)).await;
            set.map_err(|error| failed(observed, &error))?;
            observed.leave_flux();
            Ok(())
        })
    }

    fn settle<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Option<Failure>> {
        Box::pin(async {
            let Parts { conn, seen: observed, .. } = tx.parts();
            settle::<DB>(conn, observed).await;
            observed.aborted_by().cloned()
        })
    }

    fn release<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(async {
            let Parts { conn, seen: observed, .. } = tx.parts();
            let calls = Arc::clone(observed.calls());
            if let Some(failure) = observed.flux() {
                return Err(failure.clone().into());
            }
            observed.enter_flux();
            let released = calls.waiting(Manager::<DB>::commit(conn)).await;
            released.map_err(|error| failed(observed, &error))?;
            observed.leave_flux();
            Ok(())
        })
    }

    fn roll_back<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, ()> {
        Box::pin(async {
            let Parts { conn, seen: observed, .. } = tx.parts();
            let calls = Arc::clone(observed.calls());
            if observed.flux().is_some() {
                return;
            }
            observed.enter_flux();
            let ended = async {
                Manager::<DB>::rollback(conn).await?;
                // SQLx leaves it set, and the next one inside it: each that fails would be another level.
                let depth = depth::<DB>(conn);
                DB::run(conn, format!("RELEASE SAVEPOINT _sqlx_savepoint_{depth}")).await
            };
            match calls.waiting(ended).await {
                Ok(()) => {
                    observed.leave_flux();
                    observed.recovered();
                }
                Err(error) => observed.saw(&error),
            }
        })
    }

    fn lend<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> Tx<'t, DB, O, Held> {
        Tx::new(tx.parts())
    }
}

fn failed<DB: Engine>(observed: &mut Observed<DB>, error: &sqlx::Error) -> Error {
    observed.saw(error);
    DB::failure_of(error).into()
}
