//! What the core knows of Diesel's blocking connections, where locks are taken.

use super::tx::Tx;
use crate::{asked::Asked, failure::of_diesel, row::Row};
use futures_util::{FutureExt, future::BoxFuture};
use std::future::{Future, ready as made};
use txsafe::{
    Error, LockOrder,
    drive::{
        lock::{Locks, Reads},
        session::Question,
    },
    hold::order::{
        held::HeldLocks,
        statement::{LockCall, LockStatement},
    },
};

/// Diesel's own connections to PostgreSQL.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "it is never made")]
pub enum Driver {}

impl Locks for Driver {
    type Tx<'c, O: LockOrder, Held> = Tx<'c, O, Held>;

    fn held<'t, O: LockOrder, Held>(tx: &'t mut Self::Tx<'_, O, Held>) -> &'t mut HeldLocks {
        &mut tx.parts().1.locks
    }

    fn with_rank<'c, O: LockOrder, Held, Other>(
        tx: Self::Tx<'c, O, Held>,
    ) -> Self::Tx<'c, O, Other> {
        tx.with_rank()
    }

    fn call<'t, O: LockOrder, Held>(
        tx: &'t mut Self::Tx<'_, O, Held>,
        call: LockCall,
    ) -> BoxFuture<'t, Result<Option<String>, Error>> {
        let binds = &[call.parameter()];
        let asked = Asked(Question { sql: call.sql(), binds }).ask_blocking(tx);
        Box::pin(made(asked.map_err(|error| of_diesel(&error).into())))
    }
}

impl<T: Row> Reads<T> for Driver {
    fn read<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
        statement: LockStatement,
    ) -> BoxFuture<'t, Result<Vec<T>, Error>> {
        let read = T::lock_blocking(tx, statement);
        Box::pin(made(read.map_err(|error| of_diesel(&error).into())))
    }
}

/// What a future returns whose every await is on the futures above.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap_or_else(|| unreachable!("nothing in it waits"))
}
