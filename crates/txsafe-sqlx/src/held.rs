//! Connections that the caller holds already.

use crate::{
    checkout::checkout,
    engine::{Conn, Engine},
    session::Session,
};
use sqlx::{Pool, pool::PoolConnection};
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
pub struct Held<'a, DB: Engine> {
    conn: Kind<'a, DB>,
    /// An attempt on it ended in doubt.
    in_doubt: bool,
}

enum Kind<'a, DB: Engine> {
    Plain(&'a mut Conn<DB>),
    Pooled(&'a mut PoolConnection<DB>),
}

impl<'a, DB: Engine> Held<'a, DB> {
    pub(crate) fn plain(conn: &'a mut Conn<DB>) -> Self {
        Self { conn: Kind::Plain(conn), in_doubt: false }
    }
}

impl<'a, DB: Engine> From<&'a mut PoolConnection<DB>> for Held<'a, DB> {
    fn from(conn: &'a mut PoolConnection<DB>) -> Self {
        Self { conn: Kind::Pooled(conn), in_doubt: false }
    }
}

impl<DB: Engine> Held<'_, DB> {
    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut Conn<DB> {
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

    /// Puts a new connection in the place of one in doubt, which is closed by that.
    ///
    /// Only a pool runs `after_connect`, and this one may have no other place than that of the old connection. So another
    /// pool with the same options makes the new one.
    async fn replace(&mut self, pool: &Pool<DB>, options: SessionOptions) -> Result<(), Failure> {
        if let (true, Kind::Pooled(conn)) = (self.in_doubt, &mut self.conn) {
            let made_by = pool.options().clone().min_connections(0).max_connections(1);
            // Without a task that closes idle connections.
            let made_by = made_by.max_lifetime(None).idle_timeout(None);
            let maker = made_by.connect_lazy_with((*pool.connect_options()).clone());
            let made = checkout::<DB>(&maker, &Alarm::default(), options).await?;
            ***conn = made.detach();
            self.in_doubt = false;
        }
        Ok(())
    }
}

impl<'a, DB: Engine> AsyncHeld for Held<'a, DB> {
    type Pool = Pool<DB>;
    type Session = Session<'a, DB>;

    async fn open(
        mut self,
        pool: &Pool<DB>,
        slot: Arc<Slot<Self>>,
        options: SessionOptions,
    ) -> Result<Session<'a, DB>, Failure> {
        let ready = async {
            self.replace(pool, options).await?;
            if DB::is_in_transaction(self.connection()).await? {
                Err(Failure::in_transaction())
            } else {
                Ok(())
            }
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

impl<DB: Engine> fmt::Debug for Held<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_replaceable() { "Held(pooled)" } else { "Held(plain)" })
    }
}
