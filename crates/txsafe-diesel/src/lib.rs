#![doc = include_str!("../README.md")]

mod checkout;
mod connect;
mod driver;
mod failure;
mod held;
mod messages;
mod observer;
mod savepoint;
mod session;
mod tx;
mod wire;

pub use connect::{connect, manager, manager_with};
pub use driver::{Configured, Database, Driver, WithKey};
pub use held::Held;
pub use observer::chain_instrumentation;
pub use tx::Tx;

pub use txsafe::{
    Attempt, Budget, Builder, Cause, Error, ErrorKind, Failure, GiveUp, IDEMPOTENCY_KEYS_SQL,
    Isolation, Keyed, Outcome, Phase, Remedy, Report, RetryPolicy, SqlState, Statement, Trail,
    TxOptions,
};
