//! The one error of this crate, and the questions to ask it.

use self::{outcome::Outcome, refusal::LockOrderRefusal, report::Report, trail::Trail};
use crate::{
    dialect::{failure::Failure, sqlstate::SqlState},
    invalid::InvalidSetting,
    retry::{
        policy::GiveUp,
        remedy::{Cause, Phase},
    },
};
use std::{fmt, panic::Location};

/// Why a transaction didn't do what its caller wanted.
///
/// It carries the whole story: [`report`](Self::report) has every attempt with its remedy and pause, and the trail of
/// statements. A caller that only wants to answer a request asks [`outcome`](Self::outcome) and
/// [`is_transient`](Self::is_transient).
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    failure: Option<Failure>,
    report: Option<Report>,
}

/// The named traps.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting or a name that can't be meant.
    InvalidSetting(InvalidSetting),
    /// A transaction was called inside another one on the same database.
    NestedTransaction {
        /// The name and place of the outer transaction.
        outer: (String, &'static Location<'static>),
        /// The name and place of the inner one.
        inner: (String, &'static Location<'static>),
    },
    /// The closure returned `Ok` although a statement had failed and the server had aborted the transaction. Its
    /// COMMIT would have answered success and written nothing.
    RolledBackAtCommit,
    /// The answer to COMMIT was lost, and what it did isn't known.
    CommitUnknown {
        /// The transaction's id, for `pg_xact_status`, where it was asked for before COMMIT.
        xid: Option<u64>,
    },
    /// BEGIN itself was refused while statements were already on their way behind it, and they ran on their own.
    RanUnprotected,
    /// The closure ended the transaction itself, by COMMIT or ROLLBACK in SQL. What ran before that statement may be
    /// committed, and it isn't repeated.
    EndedByClosure,
    /// The closure left the connection that it was lent in the midst of an exchange, such as a COPY that isn't read to its
    /// end, and the next request would have got the wrong answer. The connection is closed.
    OutOfStep,
    /// Statements ran whose effect on the transaction isn't known: on a lent connection, or with a COMMIT whose answer was
    /// lost. The server couldn't be asked whether the transaction was still the one that was begun. It isn't repeated.
    Unidentified,
    /// `transaction_on` was given a connection that is in a transaction. Nothing was sent in it.
    OpenTransaction,
    /// A savepoint or a nested transaction was still open when the closure returned `Ok`.
    SavepointLeftOpen,
    /// When COMMIT was due, a statement that nobody waited for was still running, or rows of a dropped stream were still coming.
    /// txsafe waits `answer_timeout` for a statement (default: 10 s), at most one second of it for rows, and then closes the
    /// connection; SQLx can close it only once the rows end.
    StatementLeftRunning,
    /// A transaction that was begun by hand was to be committed, after `set_rollback_only`. It was rolled back.
    RollbackOnly,
    /// The caller's deadline passed while an attempt was running.
    DeadlineExceeded,
    /// A lock that wasn't asked for, because waiting for it could have closed a cycle of waits. It is a mistake in the
    /// program, and the same at each attempt.
    LockOrder(LockOrderRefusal),
    /// There is no row with the key that was to be locked.
    RowNotFound {
        /// The name of its rank.
        rank: &'static str,
        /// The key.
        key: String,
    },
    /// An earlier call with this idempotency key has committed, and its fingerprint differs. This call did nothing, and fails the
    /// same way each time: use a new key.
    IdempotencyKeyReused {
        /// The key.
        key: String,
    },
    /// Another call with the same idempotency key is still running: when all attempts had waited for it in vain, or at once with
    /// [`nowait`](crate::WithKey::nowait). What becomes of it isn't known yet; later, the same call tells.
    IdempotencyKeyInProgress {
        /// The key.
        key: String,
    },
    /// A failure that asked for another attempt, and no attempt was left.
    GaveUp(GiveUp),
    /// A failure, outside the closure, that no other attempt would cure.
    Failed,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, failure: Option<Failure>, report: Option<Report>) -> Self {
        Self(Box::new(Inner { kind, failure, report }))
    }

    /// A savepoint whose closure returned `Ok` although this statement had failed.
    pub(crate) fn swallowed(failure: Failure) -> Self {
        Self::new(ErrorKind::RolledBackAtCommit, Some(failure), None)
    }

    /// No row of this rank has this key.
    pub(crate) fn row_not_found(rank: &'static str, key: &impl fmt::Debug) -> Self {
        let key = format!("{key:?}");
        Self::new(ErrorKind::RowNotFound { rank, key }, None, None)
    }

    /// Which trap it is.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// What became of the transaction. Of one that never began it says `RolledBack`: nothing of it remains.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.0.kind {
            ErrorKind::CommitUnknown { .. }
            | ErrorKind::EndedByClosure
            | ErrorKind::Unidentified
            | ErrorKind::RanUnprotected => Outcome::Unknown,
            ErrorKind::InvalidSetting(_)
            | ErrorKind::NestedTransaction { .. }
            | ErrorKind::OpenTransaction
            | ErrorKind::OutOfStep
            | ErrorKind::RolledBackAtCommit
            | ErrorKind::SavepointLeftOpen
            | ErrorKind::StatementLeftRunning
            | ErrorKind::RollbackOnly
            | ErrorKind::DeadlineExceeded
            | ErrorKind::LockOrder(_)
            | ErrorKind::RowNotFound { .. }
            | ErrorKind::IdempotencyKeyReused { .. }
            | ErrorKind::IdempotencyKeyInProgress { .. }
            | ErrorKind::GaveUp(_)
            | ErrorKind::Failed => Outcome::RolledBack,
        }
    }

    /// Whether the same call may well succeed later: answer "try again", as HTTP's 503 does.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.0.kind {
            ErrorKind::GaveUp(_)
            | ErrorKind::DeadlineExceeded
            | ErrorKind::IdempotencyKeyInProgress { .. } => true,
            // One that a lock, a savepoint or the like returned to the closure.
            ErrorKind::Failed => {
                self.failure().is_some_and(|failure| Cause::of(failure, Phase::Body).is_transient())
            }
            _ => false,
        }
    }

    /// Whether it isn't known if the transaction committed.
    #[must_use]
    pub fn is_commit_unknown(&self) -> bool {
        matches!(self.0.kind, ErrorKind::CommitUnknown { .. })
    }

    /// Whether a statement's failure was swallowed and the transaction rolled back.
    #[must_use]
    pub fn is_rolled_back_at_commit(&self) -> bool {
        matches!(self.0.kind, ErrorKind::RolledBackAtCommit)
    }

    /// Whether a transaction was called inside another one on the same database.
    #[must_use]
    pub fn is_nested_transaction(&self) -> bool {
        matches!(self.0.kind, ErrorKind::NestedTransaction { .. })
    }

    /// Whether a lock was refused because of its place in the lock order.
    #[must_use]
    pub fn is_lock_order(&self) -> bool {
        matches!(self.0.kind, ErrorKind::LockOrder(_))
    }

    /// Whether a row that was to be locked isn't there.
    #[must_use]
    pub fn is_row_not_found(&self) -> bool {
        matches!(self.0.kind, ErrorKind::RowNotFound { .. })
    }

    /// Whether its idempotency key is that of an earlier request with another fingerprint.
    #[must_use]
    pub fn is_idempotency_key_reused(&self) -> bool {
        matches!(self.0.kind, ErrorKind::IdempotencyKeyReused { .. })
    }

    /// Whether another call with its idempotency key is still running.
    #[must_use]
    pub fn is_idempotency_key_in_progress(&self) -> bool {
        matches!(self.0.kind, ErrorKind::IdempotencyKeyInProgress { .. })
    }

    /// What the server or the driver said last, where it said anything.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.0.failure.as_ref()
    }

    /// The SQLSTATE of [`failure`](Self::failure).
    #[must_use]
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.failure().and_then(Failure::sqlstate)
    }

    /// The class of the last failure.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        let reported = self.report().and_then(|report| report.failures.last());
        let reported = reported.map(|attempt| attempt.cause);
        reported.or_else(|| self.failure().map(|failure| Cause::of(failure, Phase::Body)))
    }

    /// Why there was no further attempt, where one was called for.
    #[must_use]
    pub fn gave_up(&self) -> Option<GiveUp> {
        self.report().and_then(|report| report.gave_up)
    }

    /// The whole story; `None` where nothing was begun.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        self.0.report.as_ref()
    }

    /// The statements of the last attempt.
    #[must_use]
    pub fn trail(&self) -> Option<&Trail> {
        self.report().map(|report| &report.trail)
    }
}

impl From<InvalidSetting> for Error {
    fn from(invalid: InvalidSetting) -> Self {
        Self::new(ErrorKind::InvalidSetting(invalid), None, None)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(ErrorKind::Failed, Some(failure), None)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Report { transaction, place, attempts, .. }) = self.report() {
            write!(f, "transaction \"{transaction}\" ({place}, attempt {attempts}): ")?;
        }
        write!(f, "{}", self.0.kind)?;
        if let Some(failure) = self.failure() {
            write!(f, ": {failure}")?;
        }
        match (&self.0.kind, self.gave_up()) {
            (ErrorKind::GaveUp(_) | ErrorKind::DeadlineExceeded, _) | (_, None) => Ok(()),
            (_, Some(reason)) => write!(f, "; not tried again: {reason}"),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidSetting(invalid) => invalid.fmt(f),
            Self::NestedTransaction { outer, inner } => write!(
                f,
                "transaction \"{}\" ({}) was called inside transaction \"{}\" ({}) on the same database: it would \
                 run on a second connection, outside the first one's locks and fate; use `tx.savepoint(…)` inside, \
                 or pass `&mut tx` down",
                inner.0, inner.1, outer.0, outer.1,
            ),
            Self::RolledBackAtCommit => f.write_str(
                "rolled back instead of committed, because a failed statement was swallowed; return its error, or run \
                 what may fail in `tx.savepoint(…)`",
            ),
            Self::CommitUnknown { xid } => {
                f.write_str("the answer to COMMIT was lost and its outcome is unknown")?;
                match xid {
                    Some(xid) => write!(f, " (transaction id {xid})"),
                    None => f.write_str(
                        "; `verify_commit(true)` asks the server where the transaction has an id, and \
                         `idempotency_key(…)` makes a repetition safe",
                    ),
                }
            }
            Self::RanUnprotected => f.write_str(
                "BEGIN was cancelled by somebody while the first statements were on their way behind it, and they \
                 ran outside any transaction; `await_begin(true)` excludes it, at the price of a round trip",
            ),
            Self::EndedByClosure => f.write_str(
                "a statement ended the transaction: COMMIT, ROLLBACK or PREPARE TRANSACTION (RESET ALL looks the same), \
                 so part of its work may be committed and it isn't repeated; remove that statement: a closure commits \
                 by returning Ok and rolls back by returning Err, and `begin` has `tx.commit()` and `tx.rollback()`",
            ),
            Self::OutOfStep => f.write_str(
                "rolled back, and its connection closed: the lent connection was left in the middle of an \
                 exchange, and the next request would have got the wrong answer; read each COPY to its end, or call \
                 `finish` or `abort` on it",
            ),
            Self::Unidentified => f.write_str(
                "statements ran whose effect on the transaction isn't known, on the lent connection or \
                 with COMMIT in them, and the server couldn't be asked whether the transaction was still open, so its \
                 outcome is unknown and it isn't repeated; run statements on `&mut tx`, and leave COMMIT and \
                 ROLLBACK to txsafe",
            ),
            Self::OpenTransaction => f.write_str(
                "nothing was run: the caller's transaction stays as it was; commit it first, use the transaction that \
                 is open, or call `Database::transaction`, which takes a connection of its own",
            ),
            Self::SavepointLeftOpen => f.write_str(
                "rolled back instead of committed: a savepoint was still open, as when its future is dropped by a \
                 timeout; await it, or roll back",
            ),
            Self::StatementLeftRunning => f.write_str(
                "rolled back instead of committed, and its connection closed: the last statement was still running \
                 when COMMIT was due; await it, read the rows of a stream to their end, or bound them by LIMIT",
            ),
            Self::RollbackOnly => f.write_str(
                "rolled back instead of committed, because `set_rollback_only` was called; call `rollback` there, or don't \
                 commit what a helper has marked",
            ),
            Self::DeadlineExceeded => {
                f.write_str("the deadline passed while an attempt was running; rolled back")
            }
            Self::LockOrder(refusal) => refusal.fmt(f),
            Self::RowNotFound { rank, key } => write!(f, "there is no row of `{rank}` with key {key}"),
            Self::IdempotencyKeyReused { key } => write!(
                f,
                "idempotency key {key:?} was used for another request, which has committed: the fingerprints differ, so this \
                 one did nothing; take a new key for each operation, or compute the fingerprint only from what each \
                 repetition sends unchanged",
            ),
            Self::IdempotencyKeyInProgress { key } => write!(
                f,
                "another call with idempotency key {key:?} is still running, so this one did nothing; call again later \
                 with the same key, which tells what became of it",
            ),
            Self::GaveUp(reason) => write!(f, "gave up: {reason}"),
            Self::Failed => f.write_str("failed"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("failure", &self.0.failure)
            .field("report", &self.0.report)
            .finish()
    }
}

impl std::error::Error for Error {
    /// What the server or the driver said, if it was one of them; the error's own text has it as well, because logs show often
    /// nothing else.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.failure().map(|failure| failure as _)
    }
}

pub(crate) mod difference;
pub(crate) mod outcome;
pub(crate) mod refusal;
pub(crate) mod report;
pub(crate) mod trail;
