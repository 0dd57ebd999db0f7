//! Connections that the caller holds already.

use crate::{checkout::of_manager, session::Session};
use deadpool::managed::Manager;
use diesel_async::{
    AsyncPgConnection,
    pooled_connection::deadpool::{Object, Pool},
};
use std::{fmt, sync::Arc};
use txsafe::{
    Failure,
    decide::settings::Settings,
    drive::driver::{AsyncHeld, Slot},
};

/// A connection that `transaction_on` can run on: a plain one, or a pool's object, inside which a lost connection is
/// replaced by a new one of its pool's manager. After a cancellation or a panic it is closed at once.
pub struct Held<'a>(Kind<'a>);

enum Kind<'a> {
    Plain(&'a mut AsyncPgConnection),
    Pooled(&'a mut Object<AsyncPgConnection>),
}

impl<'a> From<&'a mut AsyncPgConnection> for Held<'a> {
    fn from(conn: &'a mut AsyncPgConnection) -> Self {
        Self(Kind::Plain(conn))
    }
}

impl<'a> From<&'a mut Object<AsyncPgConnection>> for Held<'a> {
    fn from(object: &'a mut Object<AsyncPgConnection>) -> Self {
        Self(Kind::Pooled(object))
    }
}

impl Held<'_> {
    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut AsyncPgConnection {
        match &mut self.0 {
            Kind::Plain(conn) => conn,
            Kind::Pooled(object) => object,
        }
    }

    /// Puts a new connection in the place of a lost one.
    pub(crate) async fn replace(&mut self) -> Result<(), Failure> {
        let Kind::Pooled(object) = &mut self.0 else {
            return Err(Failure::local("a connection outside a pool can't be replaced"));
        };
        let Some(pool) = Object::pool(object) else {
            return Err(Failure::local("the pool of this connection is gone"));
        };
        // In its place, so that a pool of one needn't wait for itself.
        ***object = pool.manager().create().await.map_err(|error| of_manager(&error))?;
        Ok(())
    }
}

impl<'a> AsyncHeld for Held<'a> {
    type Pool = Pool<AsyncPgConnection>;
    type Session = Session<'a>;

    fn open(
        self,
        _pool: &Self::Pool,
        slot: Arc<Slot<Self>>,
        settings: &Settings,
    ) -> impl Future<Output = Result<Session<'a>, Failure>> + Send {
        Session::on_held(self, slot, settings)
    }

    fn is_replaceable(&self) -> bool {
        matches!(self.0, Kind::Pooled(_))
    }
}

impl fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_replaceable() { "Held(pooled)" } else { "Held(plain)" })
    }
}
