//! Connections that the caller holds already.

use super::{
    driver::Driver,
    language::Language,
    pool::{Pool, R2d2Object, R2d2Pool},
    session::{Lease, Session, is_in_error},
};
use diesel::PgConnection;
use std::{fmt, marker::PhantomData, sync::Arc};
use txsafe::{
    Failure,
    driver::{BlockingHeld, SessionOptions, Slot},
};

/// A connection that `transaction_on` can run on: a plain one, such as deadpool-diesel's `interact` lends, or an r2d2 pool's.
///
/// If an r2d2 pool's is lost, a new one of the database's r2d2 pool takes its place, where that pool has more than one.
pub struct Held<'a, P = R2d2Pool>(Kind<'a>, PhantomData<fn() -> P>);

enum Kind<'a> {
    Plain(&'a mut PgConnection),
    Pooled(&'a mut R2d2Object),
}

impl<'a, P> From<&'a mut PgConnection> for Held<'a, P> {
    fn from(conn: &'a mut PgConnection) -> Self {
        Self(Kind::Plain(conn), PhantomData)
    }
}

impl<'a, P> From<&'a mut R2d2Object> for Held<'a, P> {
    fn from(object: &'a mut R2d2Object) -> Self {
        Self(Kind::Pooled(object), PhantomData)
    }
}

impl<P: Pool> Held<'_, P> {
    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        match &mut self.0 {
            Kind::Plain(conn) => conn,
            Kind::Pooled(object) => object,
        }
    }

    /// Puts a connection of the pool in the place of one that was lost.
    fn replace_if_lost(&mut self, pool: &P, options: SessionOptions) -> Result<(), Failure> {
        if !is_in_error(self.connection()) || !self.is_replaceable(pool) {
            return Ok(());
        }
        if let (Kind::Pooled(object), Some(pool)) = (&mut self.0, pool.r2d2()) {
            // The lost one goes home, where it is found to be broken, and its place comes free.
            **object = super::checkout::checkout(pool, options)?;
        }
        Ok(())
    }
}

impl<'a, P: Pool> BlockingHeld for Held<'a, P> {
    type Driver = Driver<P>;
    type Session = Session<'a, P>;

    fn open(
        mut self,
        pool: &P,
        language: &Language,
        slot: Arc<Slot<Self>>,
        options: SessionOptions,
    ) -> Result<Session<'a, P>, Failure> {
        if let Err(failure) = self.replace_if_lost(pool, options) {
            slot.put_back(self);
            return Err(failure);
        }
        Session::new(Lease::Held(self, slot), language, options)
    }

    /// r2d2 makes connections for its free places only, and in a pool of one there is none besides this.
    fn is_replaceable(&self, pool: &P) -> bool {
        matches!(self.0, Kind::Pooled(_)) && pool.r2d2().is_some_and(|pool| pool.max_size() > 1)
    }
}

impl<P> fmt::Debug for Held<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Plain(_) => "Held(plain)",
            Kind::Pooled(_) => "Held(pooled)",
        })
    }
}
