//! What a transaction's closure does, told without a driver.

use crate::error::AppError;
use futures_util::future::BoxFuture;
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use txsafe::{NewMessage, WrittenMessage};
use txsafe_testkit::words_of;

/// One thing that a closure does.
#[derive(Clone)]
pub enum Step {
    /// Adds to an account, with bind values, and returns the error if that fails.
    Credit(i32, i64),
    /// Runs simple SQL, and returns the error if that fails.
    Sql(String),
    /// Runs simple SQL, and keeps the error to itself.
    Swallow(String),
    /// Runs simple SQL on the connection that the driver lends, and returns the error if that fails; the transaction isn't
    /// told of it.
    Lent(String),
    /// Writes a message to the outbox, and keeps the answer.
    Outbox(NewMessage),
    /// Runs steps behind a savepoint, and keeps an error to itself.
    Savepoint(Vec<Step>),
    /// Writes these counters, with bind values, by one statement.
    UpsertListed(Vec<i32>),
    /// The same by `upsert_many`.
    UpsertMany(Vec<i32>),
    /// Writes each of these counters by `update_many`.
    UpdateMany(Vec<i32>),
    /// Queues a hook that makes this note.
    AfterCommit(&'static str),
    /// Queues a hook that makes this note.
    AfterRollback(&'static str),
    /// Has the attempt rolled back, whatever it returns.
    RollbackOnly,
    /// Awaits something that has nothing to do with the transaction, or should not have.
    Await(Arc<dyn Fn() -> BoxFuture<'static, Result<(), AppError>> + Send + Sync>),
    /// Returns an error of the application's own.
    Fail(&'static str),
    /// Panics.
    Panic,
}

impl Step {
    /// Runs simple SQL.
    pub fn sql(sql: impl Into<String>) -> Self {
        Self::Sql(sql.into())
    }

    /// Lets the server raise an error with this code.
    #[must_use]
    pub fn raise(code: &str) -> Self {
        Self::Sql(raise(code))
    }

    /// Awaits what `call` returns.
    pub fn awaiting<F>(call: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), AppError>> + Send + 'static,
    {
        Self::Await(Arc::new(move || Box::pin(call())))
    }
}

/// SQL that raises an error with this code, in the server's own words.
#[must_use]
pub fn raise(code: &str) -> String {
    format!("DO $$ BEGIN RAISE '{}' USING ERRCODE = '{code}'; END $$", words_of(code))
}

/// The steps of a closure by attempt, and what it noted.
#[derive(Clone, Default)]
pub struct Script(Arc<Inner>);

#[derive(Default)]
struct Inner {
    attempts: Vec<Vec<Step>>,
    played: AtomicUsize,
    notes: Mutex<Vec<&'static str>>,
    written: Mutex<Vec<WrittenMessage>>,
}

impl Script {
    /// The same steps in every attempt.
    pub fn new(steps: impl Into<Vec<Step>>) -> Self {
        Self::by_attempt([steps.into()])
    }

    /// Steps for each attempt; the last ones are for all that follow.
    pub fn by_attempt(attempts: impl Into<Vec<Vec<Step>>>) -> Self {
        Self(Arc::new(Inner { attempts: attempts.into(), ..Inner::default() }))
    }

    /// First `steps`, then from the second attempt on nothing but `rest`.
    pub fn first(steps: impl Into<Vec<Step>>, rest: impl Into<Vec<Step>>) -> Self {
        Self::by_attempt([steps.into(), rest.into()])
    }

    /// Starts the next attempt.
    #[must_use]
    pub fn next_attempt(&self) -> &[Step] {
        let n = self.0.played.fetch_add(1, Ordering::Relaxed);
        let last = self.0.attempts.len().saturating_sub(1);
        self.0.attempts.get(n.min(last)).map_or(&[], Vec::as_slice)
    }

    /// How many attempts were made.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.0.played.load(Ordering::Relaxed)
    }

    /// Makes a note.
    pub fn note(&self, note: &'static str) {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    /// The notes that hooks made, in order.
    #[must_use]
    pub fn notes(&self) -> Vec<&'static str> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A message was written to the outbox.
    pub fn wrote(&self, message: WrittenMessage) {
        self.0.written.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }

    /// The messages that were written to the outbox, by all attempts.
    #[must_use]
    pub fn written(&self) -> Vec<WrittenMessage> {
        self.0.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("attempts", &self.attempts()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credit(id, amount) => write!(f, "Credit({id}, {amount})"),
            Self::Sql(sql) => write!(f, "Sql({sql})"),
            Self::Swallow(sql) => write!(f, "Swallow({sql})"),
            Self::Lent(sql) => write!(f, "Lent({sql})"),
            Self::Outbox(message) => write!(f, "Outbox({message:?})"),
            Self::Savepoint(steps) => f.debug_tuple("Savepoint").field(steps).finish(),
            Self::UpsertListed(ids) => write!(f, "UpsertListed({ids:?})"),
            Self::UpsertMany(ids) => write!(f, "UpsertMany({ids:?})"),
            Self::UpdateMany(ids) => write!(f, "UpdateMany({ids:?})"),
            Self::AfterCommit(note) => write!(f, "AfterCommit({note})"),
            Self::AfterRollback(note) => write!(f, "AfterRollback({note})"),
            Self::RollbackOnly => f.write_str("RollbackOnly"),
            Self::Await(_) => f.write_str("Await"),
            Self::Fail(message) => write!(f, "Fail({message})"),
            Self::Panic => f.write_str("Panic"),
        }
    }
}
