//! How a caller deals with a COMMIT whose answer was lost, and what it may conclude in the end.

use crate::{
    drivers::{Call, Database},
    error::AppError,
    script::Script,
};
use serde::Serialize;
use std::fmt;
use txsafe::{Outcome, TxOptions};

/// How a caller deals with a COMMIT whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// It wants to be told that the outcome is unknown.
    Report,
    /// The server is asked what became of the transaction.
    Verify,
    /// A key in the transaction makes it repeatable.
    Key,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Report, Self::Verify, Self::Key];

    /// Runs an operation in this way; its number is its key.
    ///
    /// # Errors
    /// What its caller hears; [`End::of`] says what that lets it conclude.
    pub async fn run(
        self,
        db: &dyn Database,
        options: TxOptions,
        operation: u64,
        script: Script,
    ) -> Result<(), AppError> {
        let call = Call::new("operation").with(options.verify_commit(self == Self::Verify));
        let call = if self == Self::Key { call.key(operation.to_string()) } else { call };
        db.run(call, script).await.map(drop)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Report => "report",
            Self::Verify => "verify",
            Self::Key => "key",
        })
    }
}

/// What the caller of a transaction may conclude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It happened.
    Committed,
    /// It did not.
    RolledBack,
    /// Nobody knows.
    Unknown,
}

impl End {
    /// What this answer lets its caller conclude.
    ///
    /// # Panics
    /// If an error says that the transaction was committed.
    #[must_use]
    pub fn of(answer: &Result<(), AppError>) -> Self {
        let Err(error) = answer else { return Self::Committed };
        match error.outcome() {
            Outcome::Unknown => Self::Unknown,
            Outcome::RolledBack => Self::RolledBack,
            outcome => unreachable!("an error says {outcome:?}"),
        }
    }

    /// What is wrong about this conclusion, with so many entries in the ledger.
    #[must_use]
    pub fn judge(self, entries: i64) -> Verdict {
        match (self, entries) {
            (_, 2..) => Verdict::Duplicated,
            (Self::Committed, 0) => Verdict::Lost,
            (Self::RolledBack, 1) => Verdict::WronglyKnown,
            _ => Verdict::True,
        }
    }
}

/// What the ledger says of a conclusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is so.
    True,
    /// Said to be committed, and not there.
    Lost,
    /// There more than once.
    Duplicated,
    /// Said to be rolled back, and there.
    WronglyKnown,
}

/// What was counted of operations and conclusions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Operations that were run.
    pub operations: u64,
    /// Said to be committed, and not there.
    pub lost: u64,
    /// There more than once.
    pub duplicated: u64,
    /// Said to be rolled back, and there.
    pub wrongly_known: u64,
    /// Said to be unknown.
    pub unknown: u64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, end: End, entries: i64) -> Verdict {
        self.operations += 1;
        self.unknown += u64::from(end == End::Unknown);
        let verdict = end.judge(entries);
        match verdict {
            Verdict::True => {}
            Verdict::Lost => self.lost += 1,
            Verdict::Duplicated => self.duplicated += 1,
            Verdict::WronglyKnown => self.wrongly_known += 1,
        }
        verdict
    }

    /// Whether nothing was said that isn't so.
    #[must_use]
    pub fn is_true(&self) -> bool {
        (self.lost, self.duplicated, self.wrongly_known) == (0, 0, 0)
    }
}
