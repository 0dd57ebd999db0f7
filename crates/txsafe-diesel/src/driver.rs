//! What the core's `Database` is made of, for diesel-async.

use crate::{checkout::checkout, held::Held, session::Session, tx::Tx};
use diesel_async::{AsyncPgConnection, pooled_connection::deadpool::Pool};
use std::{
    fmt,
    future::Future,
    time::{Duration, Instant},
};
use txsafe::{Failure, LockOrder, NoOrder, decide::settings::Settings, drive::driver::AsyncDriver};

/// A database, reached through a deadpool of diesel-async connections.
///
/// Build the pool with [`manager`](crate::manager()), so that the wire of its connections is observed; others work, with
/// less insight, and say so.
pub type Database<O = NoOrder> = txsafe::Database<Driver, O>;

/// A [`Database`] with the options of one call; made by [`Database::with`].
pub type Configured<'d, O = NoOrder> = txsafe::Configured<'d, Driver, O>;

/// A [`Database`] with an idempotency key; made by [`Database::idempotency_key`].
pub type WithKey<'d, O = NoOrder> = txsafe::WithKey<'d, Driver, O>;

/// diesel-async on PostgreSQL.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "it is never made")]
pub enum Driver {}

impl AsyncDriver for Driver {
    type Pool = Pool<AsyncPgConnection>;
    type Held<'a> = Held<'a>;
    type Session<'a> = Session<'a>;
    type Tx<'c, O: LockOrder> = Tx<'c, O>;

    const SHOWS_BIND_VALUES: bool = true;

    fn status(pool: &Self::Pool) -> impl fmt::Debug {
        pool.status()
    }

    async fn checkout<'a>(
        pool: &'a Self::Pool,
        settings: &Settings,
        deadline: Option<Instant>,
    ) -> Result<Session<'a>, Failure> {
        let object = checkout(pool, settings, deadline).await?;
        Ok(Session::pooled(object, settings))
    }

    fn tx<'c, O: LockOrder>(session: &'c mut Session<'_>) -> Tx<'c, O> {
        session.tx()
    }

    fn sleep(pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(pause)
    }
}
