//! What findings are called.

use super::policy::Severity;
use std::fmt;

/// What a finding is about. Codes are stable; each has a page in the documentation, `docs/findings/TXS….md`.
///
/// # Examples
/// ```
/// use txsafe::guard::Code;
///
/// assert_eq!(Code::ExternalWait.as_str(), "TXS001");
/// assert_eq!("TXS001".parse(), Ok(Code::ExternalWait));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// The transaction waited for something that isn't its database.
    ExternalWait,
    /// A call that is marked as external was made.
    ExternalCall,
    /// A poll of the transaction blocked its thread.
    BlockingCall,
    /// A poll of the transaction computed for long.
    SlowPoll,
    /// A second connection was taken.
    SecondConnection,
    /// A connection is waited for while transactions hold all that could come free.
    EndlessCheckout,
    /// The transaction waits, on another connection, for a lock that it holds itself.
    OwnLock,
    /// The operating system was asked for something that may take its time. Found where `txsafe-interpose` is linked.
    SystemCall,
    /// Locks were wanted in an order that can deadlock.
    LockInversion,
    /// A statement left something on the session of its pooled connection, for the next transaction there.
    SessionState,
    /// Nothing has been sent for half of the time after which the server ends the session.
    IdleTransaction,
    /// The closure was run again, in rerun mode, and did something else than the first time.
    RerunDiffers,
    /// A statement locks rows in the order in which its caller listed them, and that isn't sorted.
    UnsortedRows,
    /// More than 64 savepoints have written and weren't rolled back: more subtransactions than the server keeps at hand.
    ManySubtransactions,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::ExternalWait,
        Self::ExternalCall,
        Self::BlockingCall,
        Self::SlowPoll,
        Self::SecondConnection,
        Self::EndlessCheckout,
        Self::OwnLock,
        Self::SystemCall,
        Self::LockInversion,
        Self::SessionState,
        Self::IdleTransaction,
        Self::RerunDiffers,
        Self::UnsortedRows,
        Self::ManySubtransactions,
    ];

    /// As it is written: `TXS001`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.told().0
    }

    /// What it is about, in a few words.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.told().1
    }

    /// What to do instead.
    #[must_use]
    pub fn help(self) -> &'static str {
        self.told().2
    }

    fn told(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ExternalWait => (
                "TXS001",
                "external wait",
                "its locks are held meanwhile: move the call before or behind the transaction, queue it by \
                 `tx.after_commit`, or allow it with a reason",
            ),
            Self::ExternalCall => (
                "TXS002",
                "external call",
                "its locks are held meanwhile, and a rollback can't undo it: move it before or behind the transaction, \
                 queue it by `tx.after_commit`, or allow it with a reason",
            ),
            Self::BlockingCall => (
                "TXS003",
                "blocking call",
                "it holds the transaction's locks and a thread of the runtime: use the async twin, outside of the \
                 transaction",
            ),
            Self::SlowPoll => (
                "TXS004",
                "slow poll",
                "its locks are held meanwhile: compute before the transaction begins",
            ),
            Self::SecondConnection => (
                "TXS005",
                "second connection",
                "enough of these at once empty the pool and wait for each other: pass the transaction down, drop the other \
                 connection before it begins, or run it on that one by `transaction_on`",
            ),
            Self::EndlessCheckout => (
                "TXS006",
                "endless checkout",
                "none comes free but by a timeout: pass the transaction down, or take what else is needed before it begins",
            ),
            Self::OwnLock => (
                "TXS007",
                "own lock",
                "it ends but by a timeout, and the server sees no deadlock: do both on the transaction's own connection, \
                 or one after the other",
            ),
            Self::SystemCall => (
                "TXS008",
                "system call",
                "the transaction's locks are held while the system is asked: do it before or behind the transaction, queue \
                 it by `tx.after_commit`, or allow it with a reason",
            ),
            Self::LockInversion => (
                "TXS009",
                "lock inversion",
                "lock in one order everywhere; where it is declared as types, a wrong one doesn't compile",
            ),
            Self::SessionState => (
                "TXS010",
                "session state",
                "neither COMMIT nor the pool takes it away: use the form that ends with the transaction, or undo it before it \
                 ends, or have such connections closed by `Builder::close_on_session_state`",
            ),
            Self::IdleTransaction => (
                "TXS011",
                "idle transaction",
                "its locks are held meanwhile, and what it did is lost when the server ends its session: do what takes long \
                 before the transaction or behind it (claim a job by a lease, and work on it outside of a transaction), or \
                 raise `idle_in_transaction_session_timeout` where it was set, for this call or for the role",
            ),
            Self::RerunDiffers => (
                "TXS012",
                "rerun differs",
                "in production a retry does the same: clone inside the closure what it takes, return what it collects, and read \
                 clocks, random numbers and caches before the transaction; or call `transaction_once`, which never runs its \
                 closure again",
            ),
            Self::UnsortedRows => (
                "TXS013",
                "unsorted rows",
                "two such statements that list the same rows in another order deadlock: sort the rows by their key first, as \
                 `in_key_order` does, or lock them in one order before (`SELECT … ORDER BY … FOR UPDATE`, `lock_keys`)",
            ),
            Self::ManySubtransactions => (
                "TXS014",
                "many subtransactions",
                "set one savepoint around many rows instead of one around each, write by `ON CONFLICT` where a savepoint may \
                 fail, or split the work into several transactions",
            ),
        }
    }

    /// The severity in development and in tests.
    pub(crate) fn severity(self, in_tests: bool) -> Severity {
        match self {
            // How long a computation takes depends on the machine, and on what else runs there.
            Self::SlowPoll => Severity::Warn,
            _ if in_tests => Severity::Error,
            _ => Severity::Warn,
        }
    }

    /// Its place in [`ALL`](Self::ALL), which has nothing to do with its number.
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    fn from_str(code: &str) -> Result<Self, UnknownCode> {
        Self::ALL.into_iter().find(|known| known.as_str() == code).ok_or(UnknownCode)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no finding of that code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownCode;

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no finding has this code")
    }
}

impl std::error::Error for UnknownCode {}
