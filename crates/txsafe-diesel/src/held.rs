//! Connections that the caller holds already.

use crate::{
    checkout::{checkout, of_manager},
    session::Session,
};
use deadpool::managed::Manager;
use diesel::ConnectionError;
use diesel_async::{
    AsyncPgConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig,
        deadpool::{Object, Pool},
    },
};
use std::{
    fmt,
    future::ready,
    mem,
    sync::{Arc, Mutex, PoisonError},
};
use txsafe::{
    Failure,
    driver::{AsyncHeld, SessionOptions, Slot},
};

/// A connection that `transaction_on` can run on: a plain one, or a pool's object, in whose place another one of its pool is
/// put if its connection is lost. After a cancellation or a panic it is closed at once.
pub struct Held<'a>(Kind<'a>);

enum Kind<'a> {
    Plain(&'a mut AsyncPgConnection),
    /// With the pool that it came from.
    Pooled(&'a mut Object<AsyncPgConnection>, Option<Pool<AsyncPgConnection>>),
}

impl<'a> From<&'a mut AsyncPgConnection> for Held<'a> {
    fn from(conn: &'a mut AsyncPgConnection) -> Self {
        Self(Kind::Plain(conn))
    }
}

impl<'a> From<&'a mut Object<AsyncPgConnection>> for Held<'a> {
    fn from(object: &'a mut Object<AsyncPgConnection>) -> Self {
        let pool = Object::pool(object);
        Self(Kind::Pooled(object, pool))
    }
}

impl Held<'_> {
    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut AsyncPgConnection {
        match &mut self.0 {
            Kind::Plain(conn) => conn,
            Kind::Pooled(object, _) => object,
        }
    }

    /// Puts a new connection of its pool in the place of a lost one.
    pub(crate) async fn replace(&mut self, options: SessionOptions) -> Result<(), Failure> {
        let Kind::Pooled(object, Some(pool)) = &mut self.0 else {
            return Err(Failure::local(
                "a connection that is in no pool, or in none any more, can't be replaced: take another one",
            ));
        };
        if Object::pool(object).is_some() {
            give_up_place(object, pool).await?;
        }
        **object = checkout(pool, options).await?;
        Ok(())
    }
}

/// Gives up the place of a lost connection in its pool, and leaves the lost connection where it is.
///
/// deadpool runs its `post_create` hooks on connections that it makes for free places, and frees the place of an object that it
/// is given back, but not of one that is only borrowed. So the object of another pool takes its place here. What that pool made
/// for it is closed at once.
async fn give_up_place(
    object: &mut Object<AsyncPgConnection>,
    pool: &Pool<AsyncPgConnection>,
) -> Result<(), Failure> {
    let made = pool.manager().create().await.map_err(|error| of_manager(&error))?;
    let made = Mutex::new(Some(made));
    let mut setup = ManagerConfig::<AsyncPgConnection>::default();
    setup.custom_setup = Box::new(move |_| {
        let made = made.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(ready(made.ok_or_else(|| ConnectionError::BadConnection("made once".into()))))
    });
    let other = AsyncDieselConnectionManager::new_with_config("", setup);
    let other = Pool::builder(other).max_size(1).build();
    let other = other.map_err(|error| Failure::local(error.to_string()))?;
    let mut other = other.get().await.map_err(|error| Failure::local(error.to_string()))?;
    mem::swap::<AsyncPgConnection>(object, &mut other);
    mem::swap(object, &mut other);
    drop(Object::take(other));
    Ok(())
}

impl<'a> AsyncHeld for Held<'a> {
    type Pool = Pool<AsyncPgConnection>;
    type Session = Session<'a>;

    fn open(
        self,
        _pool: &Self::Pool,
        slot: Arc<Slot<Self>>,
        options: SessionOptions,
    ) -> impl Future<Output = Result<Session<'a>, Failure>> + Send {
        Session::on_held(self, slot, options)
    }

    fn is_replaceable(&self) -> bool {
        matches!(self.0, Kind::Pooled(_, Some(_)))
    }
}

impl fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_replaceable() { "Held(pooled)" } else { "Held(plain)" })
    }
}
