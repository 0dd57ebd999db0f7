//! The texts that txsafe sends to a database, and how it reads the answers. Everything here is pure: no I/O, no clock, no dice.
//!
//! A [`Dialect`] is a kind of database. The run loops know it as `dyn`, and the driver of an adapter names it: users of an adapter
//! never write it down. Where a database has no answer to a question, the loops do without.

pub(crate) mod begin;
pub(crate) mod condition;
pub(crate) mod deadlock;
pub(crate) mod error_code;
pub(crate) mod failure;
pub(crate) mod holders;
pub(crate) mod isolation;
pub(crate) mod leaving;
pub(crate) mod limits;
pub(crate) mod local;
pub(crate) mod mark;
pub(crate) mod own_schema;
pub(crate) mod postgres;
pub mod sqlite;
pub(crate) mod sqlstate;
pub(crate) mod violation;
pub(crate) mod words;

use self::{
    begin::{Begin, BeginSettings},
    failure::Failure,
    limits::Limits,
    local::{LocalSettings, LocalSql},
    mark::{Identity, Mark},
};
use std::fmt;

/// A kind of database: what it is asked, and how its answers are read.
pub trait Dialect: fmt::Debug + Send + Sync {
    /// Its name, as OpenTelemetry has it in `db.system.name`.
    fn system(&self) -> &'static str;

    /// The message that begins a transaction with these settings, and what COMMIT's message says first.
    fn begin(&self, settings: &BeginSettings<'_>, mark: Mark) -> Begin;

    /// Returns the SQL that makes the application's own settings for one transaction; `None` if the database has no such settings.
    fn set_local(&self, _settings: &LocalSettings) -> Option<LocalSql> {
        None
    }

    /// The SQL of a question; `None` where the database can't be asked.
    ///
    /// It is one message, which returns at most one row, with one text named `answer`. Its parameters are texts.
    fn question(&self, ask: Ask) -> Option<&'static str>;

    /// What the answer to [`Ask::Limits`] says; `None` if it says nothing that can be read.
    fn limits(&self, _answer: &str) -> Option<Limits> {
        None
    }

    /// Whether two transactions can wait for each other's locks.
    fn can_deadlock(&self) -> bool {
        true
    }

    /// How many subtransactions of one transaction may have written before they cost other sessions time; `None` if there is no such
    /// limit.
    fn cheap_subtransactions(&self) -> Option<usize> {
        None
    }

    /// What the answer to [`Ask::Mark`] says of the transaction; `None` if it is the answer to something else, or none at all.
    fn identity(&self, mark: &Mark, answer: &Result<Option<String>, Failure>) -> Option<Identity>;
}

/// [`KEY_IN_PROGRESS`], for the text of a question.
macro_rules! key_in_progress {
    () => {
        "in progress"
    };
}
pub(crate) use key_in_progress;

/// The answer to [`Ask::ClaimKey`] that says that another transaction has claimed the key and goes on.
pub const KEY_IN_PROGRESS: &str = key_in_progress!();

/// What a database is asked by the run loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ask {
    /// Which database it is, whatever pool and driver lead to it. Without an answer, a transaction inside another one is found
    /// only where both go through one `Database`.
    Database,
    /// Which limits the session has of its own, outside of any transaction. Without an answer, those of the transaction are set
    /// whatever the session's are.
    Limits,
    /// Whether the transaction is still the one that was begun with the [`Mark`] `$1`.
    Mark,
    /// Before COMMIT: the number by which its outcome can be asked for later. Without it, a lost answer leaves the outcome
    /// unknown.
    Witness,
    /// What became of the transaction with the number `$1`.
    CommitStatus,
    /// End the session `$1`, if it still waits in the transaction `$2`.
    EndSession,
    /// Which transactions the sessions `$1` run, if they began before `$2`. Without it, a deadlock has no names.
    Opponents,
    /// Write the idempotency key `$2` of the transaction `$1`. The answer is [`KEY_IN_PROGRESS`] where another transaction has
    /// claimed it and goes on, another text where it is new, and none where it has been committed.
    ClaimKey,
    /// The same, with the fingerprint `$3` of the request in hexadecimal.
    ClaimKeyWithFingerprint,
    /// Whether the key `$2` of the transaction `$1` was committed with another fingerprint than `$3`: a row comes back only then.
    OtherFingerprint,
    /// Wait until no other transaction has the key `$2` of the transaction `$1` in progress, and for nothing else. Without it, a
    /// key that is in progress isn't told from other locks.
    AwaitKey,
    /// Check the constraints that COMMIT would check, of a transaction that is only tried.
    DeferredConstraints,
    /// Release the advisory locks of the session. Without it, the connection is closed.
    UnlockAll,
}
