#![doc = include_str!("../README.md")]

mod clock;
mod dialect;
pub mod driver;
mod error;
pub mod guard;
mod invalid;
pub mod locks;
mod name;
pub mod outbox;
mod retry;
mod telemetry;
mod transaction;

pub use dialect::{
    condition::{Condition, Effect},
    deadlock::{Deadlock, Opponent},
    error_code::ErrorCode,
    failure::Failure,
    holders::{Holders, RunningTransaction, Taker},
    isolation::Isolation,
    sqlstate::SqlState,
};
pub use driver::{
    closure::{AsyncFuncMut, AsyncFuncOnce},
    many::in_key_order,
};
pub use error::{
    Error, ErrorKind,
    outcome::Outcome,
    refusal::LockOrderRefusal,
    report::{Attempt, Report},
    trail::{Statement, Trail},
};
pub use invalid::InvalidSetting;
pub use locks::{
    evidence::{Deletes, LockOf, ParentsLocked, References, Writes},
    graph::{edges::LockGraph, inversion::Inversion, observed::ObservedOrder},
    key::LockKey,
    lock_set::{Holding, LockSet},
    locked::Locked,
    mode::{ForUpdate, KeyShare, Mode, NoKeyUpdate, Share},
    rank::{AdvisoryRank, Rank, Ranked, SequenceRank, TableRank},
    relation::{Allows, At, Higher, LockOrder, NoOrder, Passed, Position, Unlocked},
    sequence::SEQUENCES_SQL,
    set::{ManyRows, OneKey, OneRow, advisory, row, rows},
};
pub use outbox::{
    backlog::Backlog,
    blocking::OutboxStopper,
    handle::Outbox,
    message::{DeadMessage, Message},
    new_message::NewMessage,
    table::OUTBOX_SQL,
    worker::{OutboxWorker, OutboxWorkerBuilder},
    written_message::{WriteEffect, WrittenMessage},
};
pub use retry::{
    budget::Budget,
    policy::{GiveUp, RetryPolicy},
    remedy::{Cause, Phase, Remedy},
};
pub use telemetry::pool::PoolState;
#[cfg(feature = "sandbox")]
pub use transaction::sandbox::Sandbox;
pub use transaction::{
    attempts::{Attempts, KeyedAttempts},
    blocking::{
        attempts::{BlockingAttempts, BlockingKeyedAttempts},
        database::BlockingDatabase,
        owned_tx::BlockingOwnedTx,
        transact::BlockingTransact,
    },
    builder::Builder,
    configured::{Configured, WithKey},
    database::Database,
    keyed::{IDEMPOTENCY_KEYS_SQL, Keyed},
    options::TxOptions,
    owned_tx::OwnedTx,
    timeout::Timeout,
    transact::Transact,
};

#[doc(hidden)]
pub use txsafe_macros::{__external_io_diesel, __external_io_sqlx, __lock_order};

/// What users need on every driver: the adapters re-export it.
#[doc(hidden)]
pub mod exports {
    pub use crate::{
        AdvisoryRank, Allows, AsyncFuncMut, AsyncFuncOnce, At, Attempt, Backlog, Budget, Builder,
        Cause, Condition, DeadMessage, Deadlock, Deletes, Effect, Error, ErrorCode, ErrorKind,
        Failure, ForUpdate, GiveUp, Higher, Holders, Holding, IDEMPOTENCY_KEYS_SQL, InvalidSetting,
        Inversion, Isolation, KeyShare, Keyed, LockGraph, LockKey, LockOf, LockOrder,
        LockOrderRefusal, LockSet, Locked, ManyRows, Message, Mode, NewMessage, NoKeyUpdate,
        NoOrder, OUTBOX_SQL, ObservedOrder, OneKey, OneRow, Opponent, Outbox, Outcome,
        ParentsLocked, Passed, Phase, PoolState, Position, Rank, Ranked, References, Remedy,
        Report, RetryPolicy, RunningTransaction, SEQUENCES_SQL, SequenceRank, Share, SqlState,
        Statement, TableRank, Taker, Timeout, Trail, TxOptions, Unlocked, WriteEffect, Writes,
        WrittenMessage, advisory, in_key_order, lock_order, rank, ranked, references, row, rows,
    };
}
