//! How an attempt ends, and what can follow.

use super::{
    call::Call, claim::Taken, keyed::Keyed, postmortem::PostMortem, returned::RunError,
    verify::Witness,
};
use crate::{
    dialect::{
        Ask, Dialect,
        condition::{Condition, Effect},
        failure::Failure,
        mark::{Identity, Mark},
    },
    driver::{
        account::Account,
        session::{CallersError, Question, Standing},
    },
    error::ErrorKind,
    guard::scope::Scope,
    retry::remedy::{Cause, Phase, Remedy},
};
use std::{sync::Arc, time::Duration};

/// What to do with the connection once the closure has returned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Commit,
    RollBack,
    /// Like `RollBack`, but the failure lies in this very connection: the next attempt must not get it again.
    Replace,
    Close,
}

/// The closure's word and the connection's state decide together; the connection has the last word.
pub(crate) fn step(closure_is_ok: bool, standing: &Standing) -> Step {
    match standing {
        Standing::Open(_) if closure_is_ok => Step::Commit,
        Standing::Open(Some(failure)) | Standing::Aborted(failure)
            if Cause::of(failure, Phase::Body).remedy() == Remedy::Reconnect =>
        {
            Step::Replace
        }
        Standing::Open(_) | Standing::Aborted(_) | Standing::NotBegun(_) => Step::RollBack,
        Standing::Unprotected(_)
        | Standing::SavepointOpen
        | Standing::InFlight(_)
        | Standing::Lost(_)
        | Standing::OutOfStep(_)
        | Standing::Unidentified(_)
        | Standing::Ended => Step::Close,
    }
}

/// The failure of BEGIN. A connection of a pool that is in a transaction was left so by somebody else: it is closed, and
/// another one is taken.
pub(crate) fn begin_failed(failure: Failure, on_held: bool) -> Failure {
    match failure.condition() {
        Condition::OpenTransaction | Condition::InFailedTransaction if !on_held => {
            Failure::left_open(failure.sqlstate())
        }
        _ => failure,
    }
}

/// Whether a BEGIN that failed has left the connection as it was: the lock that it takes itself wasn't free, as on SQLite.
pub(crate) fn began_nothing(failure: &Failure) -> bool {
    failure.effect() == Effect::StatementOnly && failure.condition() == Condition::LockTimeout
}

/// Whether to ask, before anything else, if the transaction is still the one that was begun: something ran unseen, and
/// COMMIT would follow, or the connection is closed without a chance to ask later. Where no failure was seen the closure's error
/// may be that of what ran unseen: a transaction that is aborted says so.
pub(crate) fn asks_first(closure_is_ok: bool, standing: &Standing) -> bool {
    match standing {
        Standing::Open(failure) => closure_is_ok || failure.is_none(),
        Standing::SavepointOpen => true,
        Standing::NotBegun(_)
        | Standing::Unprotected(_)
        | Standing::Aborted(_)
        | Standing::InFlight(_)
        | Standing::Lost(_)
        | Standing::OutOfStep(_)
        | Standing::Ended
        | Standing::Unidentified(_) => false,
    }
}

/// Whether the transaction is still the one that was begun with this mark.
#[derive(Clone, Copy)]
pub(crate) struct MarkQuestion<'m> {
    mark: &'m Mark,
    dialect: &'m dyn Dialect,
    sql: &'static str,
    binds: [&'m str; 1],
    /// The longest to wait for an answer that makes sense.
    pub(crate) patience: Duration,
}

impl<'m> MarkQuestion<'m> {
    /// `None` where the database can't be asked.
    pub(crate) fn new(
        mark: &'m Mark,
        dialect: &'m dyn Dialect,
        patience: Duration,
    ) -> Option<Self> {
        let sql = dialect.question(Ask::Mark)?;
        Some(Self { mark, dialect, sql, binds: [mark.as_str()], patience })
    }

    pub(crate) fn question(&self) -> Question<'_> {
        Question::new(self.sql, &self.binds)
    }
}

/// A question that a server answers if it is still there: that of the mark, or where there is none another one.
pub(crate) fn is_there<'q>(
    mark: Option<&'q MarkQuestion<'_>>,
    dialect: &dyn Dialect,
) -> Option<Question<'q>> {
    let other = || dialect.question(Ask::Limits).map(|sql| Question::new(sql, &[]));
    mark.map(MarkQuestion::question).or_else(other)
}

/// What came of asking for the mark of a transaction, several times if need be: answers come in order, so that of an
/// earlier exchange comes first.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    identity: Option<Identity>,
    questions: u32,
    failure: Option<Failure>,
}

impl Asked {
    /// An exchange that was left in its midst leaves no more answers than this.
    const MOST_QUESTIONS: u32 = 4;

    /// Takes an answer; whether it makes sense to ask again.
    pub(crate) fn takes(
        &mut self,
        answer: Result<Option<String>, Failure>,
        of: &MarkQuestion<'_>,
    ) -> bool {
        self.questions += 1;
        self.identity = of.dialect.identity(of.mark, &answer);
        if let Err(failure) = answer {
            self.failure.get_or_insert(failure);
        }
        self.identity.is_none() && self.questions < Self::MOST_QUESTIONS
    }

    /// There is no such question.
    pub(crate) fn in_vain() -> Self {
        let failure = Failure::local("this database can't be asked which transaction is open");
        Self { failure: Some(failure), ..Self::default() }
    }

    /// Whether the first answer was that to the first question.
    pub(crate) fn is_in_step(&self) -> bool {
        self.identity.is_some() && self.questions == 1
    }

    /// How a transaction that seems to stand like this really does, by what was asked in it.
    pub(crate) fn inside(self, standing: Standing) -> Standing {
        let is_in_step = self.is_in_step();
        match (self.identity, self.failure) {
            (Some(Identity::Ours), _) if is_in_step => standing,
            (Some(Identity::Ours), _) => Standing::OutOfStep(Failure::out_of_step()),
            (Some(Identity::Committed | Identity::NotOpen), _) => Standing::Ended,
            // It was aborted unseen, and refuses questions.
            (None, Some(failure)) if self.questions > 0 && !failure.is_lost() => {
                Standing::Aborted(failure)
            }
            (None, failure) => Standing::Unidentified(failure.unwrap_or_else(Failure::out_of_step)),
        }
    }

    /// The same of one that isn't committed, by what was asked after ROLLBACK.
    ///
    /// If no transaction was open by then, what ran unseen may have been committed by itself.
    pub(crate) fn after(self, rolled_back: RolledBack, standing: Standing) -> Standing {
        if rolled_back == RolledBack::Before {
            return Standing::Ended;
        }
        match (self.identity, standing) {
            (Some(Identity::NotOpen), standing)
            | (
                _,
                standing @ (Standing::Ended
                | Standing::SavepointOpen
                | Standing::OutOfStep(_)
                | Standing::Unidentified(_)),
            ) => standing,
            (Some(Identity::Committed), _) => Standing::Ended,
            (Some(Identity::Ours) | None, standing) => {
                let known = match standing {
                    Standing::NotBegun(failure)
                    | Standing::Unprotected(failure)
                    | Standing::Aborted(failure)
                    | Standing::Lost(failure)
                    | Standing::Open(Some(failure))
                    | Standing::InFlight(Some(failure)) => Some(failure),
                    Standing::Open(None)
                    | Standing::InFlight(None)
                    | Standing::OutOfStep(_)
                    | Standing::Ended
                    | Standing::SavepointOpen
                    | Standing::Unidentified(_) => None,
                };
                let failure = known.or(self.failure).unwrap_or_else(Failure::out_of_step);
                Standing::Unidentified(failure)
            }
        }
    }
}

/// What became of ROLLBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RolledBack {
    Now,
    /// No transaction was open any more.
    Before,
    /// It was refused, or that was the answer to something else.
    No,
    /// The connection is lost, or is closed in its place.
    Lost,
}

impl RolledBack {
    pub(crate) fn of(answer: Result<(), Failure>) -> Self {
        match answer {
            Ok(()) => Self::Now,
            Err(failure) if failure.condition() == Condition::NoTransaction => Self::Before,
            Err(failure) if failure.is_lost() => Self::Lost,
            Err(_) => Self::No,
        }
    }

    /// How an attempt has ended that was healthy as far as was seen, and was rolled back to run its closure again.
    pub(crate) fn to_rerun(self) -> Ended {
        match self {
            Self::Before => Ended::NotCommitted(Ok(()), Standing::Ended),
            Self::Now | Self::No | Self::Lost => Ended::RolledBackToRerun,
        }
    }
}

/// What to ask about a transaction that isn't committed, once it has ended.
#[derive(Clone, Copy)]
pub(crate) struct Inquiry<'q> {
    /// Where something ran unseen: whether it was still the one that was begun, if that can be asked.
    pub(crate) mark: Option<Option<&'q MarkQuestion<'q>>>,
    pub(crate) deadlock: Option<&'q PostMortem>,
    pub(crate) dialect: &'q dyn Dialect,
}

impl<'q> Inquiry<'q> {
    /// Of a transaction that has nothing to hide.
    pub(crate) fn nothing(dialect: &'q dyn Dialect) -> Self {
        Self { mark: None, deadlock: None, dialect }
    }
}

/// What is left when a transaction that isn't committed has ended.
pub(crate) struct Parted<H> {
    pub(crate) account: Account<H>,
    pub(crate) rolled_back: RolledBack,
    /// What the server said of its mark, where something ran unseen.
    pub(crate) asked: Option<Asked>,
    /// What it said of a deadlock.
    pub(crate) answer: Option<String>,
}

impl<H> Parted<H> {
    /// How the attempt has ended that stood like this before.
    pub(crate) fn ended(
        self,
        result: Result<(), CallersError>,
        standing: Standing,
        deadlock: Option<PostMortem>,
        call: &Call,
    ) -> (Ended, Account<H>) {
        let Self { account, rolled_back, asked, answer } = self;
        let standing = match deadlock {
            Some(deadlock) => deadlock.explain(standing, answer, call, &account),
            None => standing,
        };
        let standing = match (asked, &standing, rolled_back) {
            (Some(asked), _, _) => asked.after(rolled_back, standing),
            // It was healthy as far as was seen, and not open any more.
            (None, Standing::Open(_), RolledBack::Before) => Standing::Ended,
            _ => standing,
        };
        (Ended::NotCommitted(result, standing), account)
    }
}

/// What a question that failed says of the transaction it was asked in.
pub(crate) fn not_asked(failure: Failure) -> Standing {
    if failure.is_lost() { Standing::Lost(failure) } else { Standing::Aborted(failure) }
}

/// The failure of the claim of an idempotency key: the first one of the attempt, with its cure where the table is
/// missing.
pub(crate) fn claim_failed(failure: Failure, standing: Standing) -> Failure {
    let failure = match standing {
        Standing::NotBegun(first) | Standing::Aborted(first) => first,
        Standing::Open(_)
        | Standing::InFlight(_)
        | Standing::Unprotected(_)
        | Standing::Lost(_)
        | Standing::OutOfStep(_)
        | Standing::Unidentified(_)
        | Standing::Ended
        | Standing::SavepointOpen => failure,
    };
    if failure.condition() == Condition::UndefinedTable {
        return failure.with_cure(
            "idempotency keys need their table: put `IDEMPOTENCY_KEYS_SQL` into a migration",
        );
    }
    // Not every driver hands out the code. The message names the column, in whatever language.
    if failure.condition() == Condition::Other && failure.message().contains("fingerprint") {
        return failure.with_cure(
            "the table of idempotency keys was made by an earlier version: run `IDEMPOTENCY_KEYS_SQL` again in a migration, \
             which adds the column (on SQLite: `ALTER TABLE txsafe_idempotency_keys ADD COLUMN fingerprint TEXT`)",
        );
    }
    failure
}

/// How an attempt ended; its connection has been given back or closed.
pub(crate) enum Ended {
    /// In so much time, from BEGIN to the answer to COMMIT.
    Committed(Duration),
    /// The idempotency key couldn't be claimed.
    KeyTaken(Taken),
    /// It was made inside another transaction on the same database.
    Nested(Arc<Scope>),
    /// The closure never ran, or nothing it did could take effect.
    NotStarted(Phase, Failure),
    /// The closure returned; the attempt was not committed, for reasons that the standing tells.
    NotCommitted(Result<(), CallersError>, Standing),
    /// It would have been committed, and was rolled back to run its closure again.
    RolledBackToRerun,
    /// The deadline passed while the closure ran, which makes it this error.
    DeadlinePassed(ErrorKind),
    CommitFailed(Failure, Option<Witness>),
}

/// What a run loop does next, after it has run the hooks that are due.
pub(crate) enum Next {
    Return(Result<Keyed<()>, RunError>),
    Pause(Duration),
    /// The attempt was good, and is run again at once.
    Rerun,
    /// Find out what became of this COMMIT, then say so by [`Progress::resolve`].
    Verify(Witness),
}
