#![doc = include_str!("../README.md")]

pub mod decide;
pub mod drive;
pub mod guard;
pub mod hold;

pub use decide::{
    budget::Budget,
    deadlock::{Deadlock, Opponent},
    failure::Failure,
    options::{Isolation, TxOptions},
    remedy::{Cause, Phase, Remedy},
    retry::{GiveUp, RetryPolicy},
    sqlstate::SqlState,
};
pub use drive::{
    builder::Builder,
    closure::{AsyncFuncMut, AsyncFuncOnce},
    configured::{Configured, WithKey},
    database::Database,
    lock_set::{Holding, LockSet},
    outbox::{
        blocking::OutboxStopper,
        handle::Outbox,
        worker::{OutboxWorker, OutboxWorkerBuilder},
    },
};
pub use hold::{
    error::{Error, ErrorKind},
    keyed::{IDEMPOTENCY_KEYS_SQL, Keyed},
    order::{
        evidence::{Deletes, LockOf, ParentsLocked, References, Writes},
        graph::{edges::LockGraph, inversion::Inversion, observed::ObservedOrder},
        key::LockKey,
        locked::Locked,
        mode::{ForUpdate, KeyShare, Mode, NoKeyUpdate, Share},
        rank::{AdvisoryRank, Rank, Ranked, SequenceRank, TableRank},
        refusal::LockOrderRefusal,
        relation::{Allows, At, Higher, LockOrder, NoOrder, Passed, Position, Unlocked},
        sequence::SEQUENCES_SQL,
        set::{ManyRows, OneKey, OneRow, advisory, row, rows},
    },
    outbox::{
        backlog::Backlog,
        message::{DeadMessage, Message},
        new_message::NewMessage,
        table::OUTBOX_SQL,
        written_message::{WriteEffect, WrittenMessage},
    },
    outcome::Outcome,
    pool::PoolState,
    report::{Attempt, Report},
    trail::{Statement, Trail},
};

#[doc(hidden)]
pub use txsafe_macros::{__external_io_diesel, __external_io_sqlx, __lock_order};
