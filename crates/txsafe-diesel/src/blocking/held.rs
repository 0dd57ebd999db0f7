//! Connections that the caller holds already.

use super::{
    pool::{R2d2Object, R2d2Pool},
    session::is_in_error,
};
use diesel::PgConnection;
use std::{cell::Cell, fmt, rc::Rc, time::Instant};
use txsafe::{Failure, decide::settings::Settings};

/// A connection that `transaction_on` can run on: a plain one, or an r2d2 pool's, in whose place a new one of the
/// database's pool is put if it is lost.
pub struct Held<'a>(Kind<'a>);

enum Kind<'a> {
    Plain(&'a mut PgConnection),
    Pooled(&'a mut R2d2Object),
}

/// Where the caller's connection waits between attempts: a session takes it and puts it back when it is dropped.
pub(crate) type Slot<'a> = Rc<Cell<Option<Held<'a>>>>;

impl<'a> From<&'a mut PgConnection> for Held<'a> {
    fn from(conn: &'a mut PgConnection) -> Self {
        Self(Kind::Plain(conn))
    }
}

impl<'a> From<&'a mut R2d2Object> for Held<'a> {
    fn from(object: &'a mut R2d2Object) -> Self {
        Self(Kind::Pooled(object))
    }
}

impl Held<'_> {
    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        match &mut self.0 {
            Kind::Plain(conn) => conn,
            Kind::Pooled(object) => object,
        }
    }

    /// Whether a lost connection can be replaced where the caller holds it. r2d2 makes connections for its free places
    /// only, and in a pool of one there is none besides this.
    pub(crate) fn is_replaceable(&self, pool: Option<&R2d2Pool>) -> bool {
        matches!(self.0, Kind::Pooled(_)) && pool.is_some_and(|pool| pool.max_size() > 1)
    }

    /// Puts a connection of the pool in the place of one that was lost.
    pub(crate) fn replace_if_lost(
        &mut self,
        pool: Option<&R2d2Pool>,
        settings: &Settings,
        deadline: Option<Instant>,
    ) -> Result<(), Failure> {
        if !is_in_error(self.connection()) || !self.is_replaceable(pool) {
            return Ok(());
        }
        if let (Kind::Pooled(object), Some(pool)) = (&mut self.0, pool) {
            // The lost one goes home, where it is found to be broken, and its place comes free.
            **object = super::checkout::checkout(pool, settings, deadline)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Plain(_) => "Held(plain)",
            Kind::Pooled(_) => "Held(pooled)",
        })
    }
}
