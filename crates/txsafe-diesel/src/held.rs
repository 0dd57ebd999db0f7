//! Connections that the caller holds already.

use crate::checkout::of_manager;
use deadpool::managed::Manager;
use diesel_async::{AsyncPgConnection, pooled_connection::deadpool::Object};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
};
use txsafe::Failure;

/// A connection that `transaction_on` can run on: a plain one, or a pool's object, inside which a lost connection is
/// replaced by a new one of its pool's manager.
pub trait Held: sealed::Sealed + Send {
    /// The connection.
    #[doc(hidden)]
    fn connection(&mut self) -> &mut AsyncPgConnection;

    /// Whether a lost connection can be replaced.
    #[doc(hidden)]
    fn is_replaceable(&self) -> bool;

    /// Puts a new connection in the place of a lost one.
    #[doc(hidden)]
    fn replace<'s>(&'s mut self) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 's>>;
}

impl Held for AsyncPgConnection {
    fn connection(&mut self) -> &mut AsyncPgConnection {
        self
    }

    fn is_replaceable(&self) -> bool {
        false
    }

    fn replace<'s>(&'s mut self) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 's>> {
        Box::pin(async { Err(Failure::local("a connection outside a pool can't be replaced")) })
    }
}

impl Held for Object<AsyncPgConnection> {
    fn connection(&mut self) -> &mut AsyncPgConnection {
        self
    }

    fn is_replaceable(&self) -> bool {
        true
    }

    fn replace<'s>(&'s mut self) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 's>> {
        Box::pin(async {
            let Some(pool) = Object::pool(self) else {
                return Err(Failure::local("the pool of this connection is gone"));
            };
            // In its place, so that a pool of one needn't wait for itself.
            **self = pool.manager().create().await.map_err(|error| of_manager(&error))?;
            Ok(())
        })
    }
}

mod sealed {
    use super::{AsyncPgConnection, Object};

    pub trait Sealed {}
    impl Sealed for AsyncPgConnection {}
    impl Sealed for Object<AsyncPgConnection> {}
}

/// Where the caller's connection waits between attempts: a session takes it and puts it back when it is dropped.
pub(crate) struct Slot<'a>(Mutex<Option<&'a mut (dyn Held + 'a)>>);

impl<'a> Slot<'a> {
    pub(crate) fn new(held: &'a mut (dyn Held + 'a)) -> Self {
        Self(Mutex::new(Some(held)))
    }

    pub(crate) fn take(&self) -> Option<&'a mut (dyn Held + 'a)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn put_back(&self, held: &'a mut (dyn Held + 'a)) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }
}

impl fmt::Debug for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}
