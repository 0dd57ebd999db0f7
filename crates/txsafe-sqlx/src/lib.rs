#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(not(any(feature = "postgres", feature = "sqlite")))]
compile_error!(
    "txsafe-sqlx needs a database: enable its feature `postgres`, which is the default, or `sqlite`"
);

mod acquire;
#[cfg(feature = "postgres")]
mod binds;
mod checkout;
mod driver;
mod driver_error;
pub mod engine;
mod executor;
mod failure;
pub mod guard;
mod held;
mod observed;
#[cfg(feature = "postgres")]
mod outbox;
#[cfg(feature = "postgres")]
mod row;
mod savepoint;
mod session;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod tx;
#[cfg(feature = "postgres")]
mod watch;
#[cfg(feature = "postgres")]
mod write;

#[cfg(feature = "postgres")]
pub use {
    engine::postgres::{
        Attempts, Configured, Database, Driver, Held, KeyedAttempts, OwnedTx, Transact, Tx,
        WithKey, failure_of,
    },
    outbox::OutboxWorker,
    row::Row,
    watch::{PoolHooks, pool_options, pool_options_with},
};

#[cfg(all(feature = "postgres", feature = "sandbox"))]
pub use engine::postgres::Sandbox;

pub use driver_error::{DriverError, error_behind};

#[doc(inline)]
pub use txsafe::exports::*;
