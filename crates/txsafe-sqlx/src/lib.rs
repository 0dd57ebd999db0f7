#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod binds;
mod checkout;
mod driver;
mod executor;
mod failure;
pub mod guard;
mod held;
mod observed;
mod outbox;
mod row;
mod savepoint;
mod session;
mod tx;
mod watch;
mod write;

pub use driver::{Configured, Database, Driver, WithKey};
pub use failure::failure_of;
pub use held::Held;
pub use outbox::OutboxWorker;
pub use row::Row;
pub use tx::Tx;
pub use watch::{PoolHooks, pool_options, pool_options_with};

#[doc(inline)]
pub use txsafe::exports::*;
