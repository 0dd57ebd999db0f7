#![doc = include_str!("../README.md")]

mod checkout;
mod driver;
mod executor;
mod failure;
mod held;
mod observed;
mod savepoint;
mod session;
mod tx;

pub use driver::{Configured, Database, Driver, WithKey};
pub use held::Held;
pub use tx::Tx;

pub use txsafe::{
    Attempt, Budget, Builder, Cause, Error, ErrorKind, Failure, GiveUp, IDEMPOTENCY_KEYS_SQL,
    Isolation, Keyed, Outcome, Phase, Remedy, Report, RetryPolicy, SqlState, Statement, Trail,
    TxOptions,
};
