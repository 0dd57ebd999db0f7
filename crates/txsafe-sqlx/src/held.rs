//! Connections that the caller holds already.

use crate::{checkout::checkout, failure::of_request, session::Session};
use sqlx::{
    Executor, PgConnection, PgPool, Postgres, Row, pool::PoolConnection,
    postgres::PgTransactionManager,
};
use sqlx_core::transaction::TransactionManager;
use std::{fmt, sync::Arc};
use txsafe::{
    Failure,
    driver::{Alarm, AsyncHeld, SessionOptions, Slot},
};

/// A connection that `transaction_on` can run on: a plain one, or one of a pool, inside which a lost connection is
/// replaced by a new one made as the database's pool makes them, `after_connect` included. So it has to be one of that pool.
///
/// SQLx has no way to close a connection that is only borrowed. After a cancellation or a panic a pool's connection is
/// closed as soon as its holder drops it. A plain one rolls back before its next statement, unless it was BEGIN itself
/// that was cancelled: then it may be left in a transaction. Drop either.
pub struct Held<'a> {
    conn: Kind<'a>,
    /// An attempt on it ended in doubt.
    in_doubt: bool,
}

enum Kind<'a> {
    Plain(&'a mut PgConnection),
    Pooled(&'a mut PoolConnection<Postgres>),
}

impl<'a> From<&'a mut PgConnection> for Held<'a> {
    fn from(conn: &'a mut PgConnection) -> Self {
        Self { conn: Kind::Plain(conn), in_doubt: false }
    }
}

impl<'a> From<&'a mut PoolConnection<Postgres>> for Held<'a> {
    fn from(conn: &'a mut PoolConnection<Postgres>) -> Self {
        Self { conn: Kind::Pooled(conn), in_doubt: false }
    }
}

impl Held<'_> {
    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        match &mut self.conn {
            Kind::Plain(conn) => conn,
            Kind::Pooled(conn) => conn,
        }
    }

    /// Nobody but the next attempt may use it again.
    pub(crate) fn set_in_doubt(&mut self) {
        self.in_doubt = true;
        if let Kind::Pooled(conn) = &mut self.conn {
            conn.close_on_drop();
        }
    }

    /// Whether a transaction is open, however it was begun. SQLx knows of those that it began itself; otherwise the clock
    /// tells: a statement outside of a transaction begins when its transaction does. Source: PostgreSQL manual, section
    /// 9.9.5, "Current Date/Time".
    async fn is_in_transaction(&mut self) -> Result<bool, Failure> {
        let conn = self.connection();
        if PgTransactionManager::get_transaction_depth(conn) > 0 {
            return Ok(true);
        }
        // One simple query: a prepared one is several messages, each with a time of its own.
        let asked = conn.fetch_one("SELECT now() < statement_timestamp()").await;
        match asked.and_then(|row| row.try_get(0)) {
            Ok(is_open) => Ok(is_open),
            Err(error) => match of_request(&error) {
                failure if failure.is_lost() => Err(failure),
                // An aborted one refuses questions.
                _ => Ok(true),
            },
        }
    }

    /// Puts a new connection in the place of one in doubt, which is closed by that.
    ///
    /// Only a pool runs `after_connect`, and this one may have no other place than that of the old connection. So another
    /// pool with the same options makes the new one.
    async fn replace(&mut self, pool: &PgPool, options: SessionOptions) -> Result<(), Failure> {
        if let (true, Kind::Pooled(conn)) = (self.in_doubt, &mut self.conn) {
            let made_by = pool.options().clone().min_connections(0).max_connections(1);
            // Without a task that closes idle connections.
            let made_by = made_by.max_lifetime(None).idle_timeout(None);
            let maker = made_by.connect_lazy_with((*pool.connect_options()).clone());
            let made = checkout(&maker, &Alarm::default(), options).await?;
            ***conn = made.detach();
            self.in_doubt = false;
        }
        Ok(())
    }
}

impl<'a> AsyncHeld for Held<'a> {
    type Pool = PgPool;
    type Session = Session<'a>;

    async fn open(
        mut self,
        pool: &PgPool,
        slot: Arc<Slot<Self>>,
        options: SessionOptions,
    ) -> Result<Session<'a>, Failure> {
        let ready = async {
            self.replace(pool, options).await?;
            if self.is_in_transaction().await? { Err(Failure::in_transaction()) } else { Ok(()) }
        };
        if let Err(failure) = ready.await {
            slot.put_back(self);
            return Err(failure);
        }
        Ok(Session::on_held(self, slot, options))
    }

    fn is_replaceable(&self) -> bool {
        matches!(self.conn, Kind::Pooled(_))
    }
}

impl fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_replaceable() { "Held(pooled)" } else { "Held(plain)" })
    }
}
