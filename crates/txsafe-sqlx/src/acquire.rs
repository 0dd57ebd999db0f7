//! `&mut Tx` where a helper takes an `impl Acquire`.

use crate::{
    engine::{Conn, Engine},
    tx::Tx,
};
use futures_util::future::{BoxFuture, ready};
use sqlx::{Acquire, Connection, Error as SqlxError, Transaction};

/// For helpers that take an `impl Acquire<'_, Database = …>`. What they begin is a savepoint of SQLx's inside the transaction, and
/// what runs there is unseen, as on [`Tx::connection`].
impl<'t, DB: Engine, O, Held> Acquire<'t> for &'t mut Tx<'_, DB, O, Held> {
    type Database = DB;
    type Connection = &'t mut Conn<DB>;

    fn acquire(self) -> BoxFuture<'t, Result<Self::Connection, SqlxError>> {
        Box::pin(ready(Ok(self.connection())))
    }

    fn begin(self) -> BoxFuture<'t, Result<Transaction<'t, DB>, SqlxError>> {
        Box::pin(self.connection().begin())
    }
}
