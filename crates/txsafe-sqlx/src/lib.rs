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
pub use held::Held;
pub use outbox::OutboxWorker;
pub use row::Row;
pub use tx::Tx;
pub use watch::{PoolHooks, pool_options, pool_options_with};

pub use txsafe::{
    AdvisoryRank, Allows, At, Attempt, Backlog, Budget, Builder, Cause, Condition, DeadMessage,
    Deadlock, Deletes, Effect, Error, ErrorKind, Failure, ForUpdate, GiveUp, Higher, Holding,
    IDEMPOTENCY_KEYS_SQL, InvalidSetting, Inversion, Isolation, KeyShare, Keyed, LockGraph,
    LockKey, LockOf, LockOrder, LockOrderRefusal, LockSet, Locked, ManyRows, Message, Mode,
    NewMessage, NoKeyUpdate, NoOrder, OUTBOX_SQL, ObservedOrder, OneKey, OneRow, Opponent, Outbox,
    Outcome, ParentsLocked, Passed, Phase, PoolState, Position, Rank, Ranked, References, Remedy,
    Report, RetryPolicy, SEQUENCES_SQL, SequenceRank, Share, SqlState, Statement, TableRank, Trail,
    TxOptions, Unlocked, WriteEffect, Writes, WrittenMessage, advisory, lock_order, rank, ranked,
    references, row, rows,
};
