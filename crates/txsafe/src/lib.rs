#![doc = include_str!("../README.md")]

pub mod decide;
pub mod drive;
pub mod hold;

pub use decide::{
    budget::Budget,
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
};
pub use hold::{
    error::{Error, ErrorKind},
    keyed::{IDEMPOTENCY_KEYS_SQL, Keyed},
    order::{
        key::LockKey,
        locked::Locked,
        mode::{ForUpdate, KeyShare, Mode, NoKeyUpdate, Share},
        rank::{Rank, Ranked},
        refusal::LockOrderRefusal,
        relation::{Allows, LockOrder, NoOrder, Passed, Position, Unlocked},
    },
    outcome::Outcome,
    report::{Attempt, Report},
    trail::{Statement, Trail},
};

#[doc(hidden)]
pub use txsafe_macros::__lock_order;
