//! What the adapter of a driver implements, and what it uses. **Unstable**: it changes between minor versions, and only this
//! project's own adapters follow.
//!
//! An adapter implements [`AsyncDriver`], [`AsyncHeld`] and [`AsyncSession`], or their blocking twins, and holds no policy:
//! it says what its connection sees, and the run loops decide. Then it hands out a `Tx`, whose locks, savepoints, hooks and
//! messages call what is here.
//!
//! # Contract
//! **A session that is dropped closes its connection.** Only `give_back` returns one to its pool, and the loops call it only
//! when the transaction has certainly ended. So an attempt that ends in doubt, by a cancelled future, a panic, or a failed BEGIN
//! or ROLLBACK, never leaves a connection behind that somebody else could get.

pub(crate) mod account;
#[cfg(feature = "tokio")]
pub(crate) mod alarm;
pub(crate) mod asynchronous;
pub(crate) mod blocking;
mod checkout;
pub(crate) mod closure;
pub mod hints;
pub(crate) mod hooks;
pub(crate) mod limits;
pub(crate) mod many;
mod methods;
pub(crate) mod own_error;
pub(crate) mod savepoint;
pub(crate) mod session;
#[cfg(feature = "tokio")]
pub(crate) mod shield;
pub(crate) mod spawn;
pub(crate) mod tx_session;

pub use self::{
    account::{Account, HasAccount, Notes},
    asynchronous::{AsyncDriver, AsyncHeld, Slot},
    blocking::{BlockingDriver, BlockingHeld, OnBlockingThreads, OnThisThread},
    checkout::checkout_timed_out,
    hooks::{AsyncHook, BlockingHook, Hook, HookResult, Hooks, async_hook, blocking_hook},
    limits::KnownLimits,
    many::{update_many, upsert_many},
    own_error::OwnError,
    savepoint::{Joinable, Savepoints, savepoint, savepoint_blocking},
    session::{
        AsyncSession, AsyncSource, AsyncWork, CallersError, Question, Session, SessionOptions,
        Source, Standing, UNREAD_ROWS, Work,
    },
    spawn::spawn,
    tx_session::{OwnedSession, Parts, TxSession},
};
#[cfg(feature = "tokio")]
pub use self::{
    alarm::{Alarm, deadline},
    shield::to_the_end,
};
pub use crate::transaction::{
    blocking::run::run as run_blocking, call::Call, claim::CallKey, returned::RunError, run::run,
    shared::Shared,
};
pub use crate::{
    clock::{ClockIsSet, excused::lock as lock_mutex, set_clock},
    dialect::{
        Ask, Dialect, KEY_IN_PROGRESS,
        begin::{Begin, BeginSettings},
        failure::ErrorFields,
        leaving::leaves_transaction,
        limits::Limits,
        local::{LocalSettings, LocalSql},
        mark::{Identity, Mark},
        postgres::{Postgres, limits::may_change_limits, messages},
        sqlite::{self, Sqlite},
        violation::{Violation, violation},
    },
    guard::{
        connection::{Calls, Connection, Waiting},
        gaps::Gaps,
        holding::{Holding, Holdings, Stage},
        pool::Pool,
        session_log::SessionLog,
        takers::{Takers, Tracked},
    },
    locks::{
        graph::{
            attempt::Noticed,
            log::{BindKey, HeldTable, LockLog},
        },
        held::HeldLocks,
        lock::{self, Locks, Reads},
        lock_set,
        statement::{LockCall, LockStatement},
    },
};
#[doc(hidden)]
pub use futures_util::future::BoxFuture;
