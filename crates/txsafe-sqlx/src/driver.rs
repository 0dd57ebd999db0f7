//! What the core's `Database` is made of, for SQLx.

use crate::{checkout::checkout, held::Held, session::Session, tx::Tx};
use sqlx::PgPool;
use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use txsafe::{Failure, LockOrder, NoOrder, decide::settings::Settings, drive::driver::AsyncDriver};

/// A database, reached through a [`PgPool`], however that was built.
pub type Database<O = NoOrder> = txsafe::Database<Driver, O>;

/// A [`Database`] with the options of one call; made by [`Database::with`].
pub type Configured<'d, O = NoOrder> = txsafe::Configured<'d, Driver, O>;

/// A [`Database`] with an idempotency key; made by [`Database::idempotency_key`].
pub type WithKey<'d, O = NoOrder> = txsafe::WithKey<'d, Driver, O>;

/// SQLx on PostgreSQL.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "it is never made")]
pub enum Driver {}

impl AsyncDriver for Driver {
    type Pool = PgPool;
    type Held<'a> = Held<'a>;
    type Session<'a> = Session<'a>;
    type Tx<'c, O: LockOrder> = Tx<'c, O>;

    const SHOWS_BIND_VALUES: bool = false;

    fn status(pool: &PgPool) -> impl fmt::Debug {
        (pool.size(), pool.num_idle())
    }

    async fn checkout<'a>(
        pool: &'a PgPool,
        settings: &Settings,
        deadline: Option<Instant>,
    ) -> Result<Session<'a>, Failure> {
        let alarm = Arc::default();
        let conn = checkout(pool, &alarm, settings, deadline).await?;
        Ok(Session::pooled(conn, alarm, settings))
    }

    fn tx<'c, O: LockOrder>(session: &'c mut Session<'_>) -> Tx<'c, O> {
        session.tx()
    }

    fn sleep(pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(pause)
    }
}
