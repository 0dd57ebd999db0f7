//! What the core's `Database` is made of, for SQLx.

use crate::{checkout::checkout, held::Held, session::Session, tx::Tx};
use sqlx::PgPool;
use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use txsafe::{Failure, decide::settings::Settings, drive::driver::AsyncDriver};

/// A database, reached through a [`PgPool`], however that was built.
pub type Database = txsafe::Database<Driver>;

/// A [`Database`] with the options of one call; made by [`Database::with`].
pub type Configured<'d> = txsafe::Configured<'d, Driver>;

/// A [`Database`] with an idempotency key; made by [`Database::idempotency_key`].
pub type WithKey<'d> = txsafe::WithKey<'d, Driver>;

/// SQLx on PostgreSQL.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "it is never made")]
pub enum Driver {}

impl AsyncDriver for Driver {
    type Pool = PgPool;
    type Held<'a> = Held<'a>;
    type Session<'a> = Session<'a>;
    type Tx<'c> = Tx<'c>;

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

    fn tx<'c>(session: &'c mut Session<'_>) -> Tx<'c> {
        session.tx()
    }

    fn sleep(pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(pause)
    }
}
