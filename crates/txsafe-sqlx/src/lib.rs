#![doc = include_str!("../README.md")]

mod checkout;
mod driver;
mod executor;
mod failure;
mod held;
mod lock;
mod observed;
mod savepoint;
mod session;
mod tx;

pub use driver::{Configured, Database, Driver, WithKey};
pub use held::Held;
pub use lock::Row;
pub use tx::Tx;

pub use txsafe::{
    Allows, Attempt, Budget, Builder, Cause, Error, ErrorKind, Failure, ForUpdate, GiveUp,
    IDEMPOTENCY_KEYS_SQL, Isolation, KeyShare, Keyed, LockKey, LockOrder, LockOrderRefusal, Locked,
    Mode, NoKeyUpdate, NoOrder, Outcome, Passed, Phase, Position, Rank, Ranked, Remedy, Report,
    RetryPolicy, Share, SqlState, Statement, Trail, TxOptions, Unlocked, lock_order, rank, ranked,
};
