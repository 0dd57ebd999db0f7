//! What a connection tells the guard of the transaction that runs on it.

#[cfg(feature = "origins")]
use super::late;
use super::scope::Driving;
use crate::clock::times::now;
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

/// What a connection tells the guard; adapters implement it.
///
/// Whether a transaction waits for its database is a fact of its own connection: a statement on another one is as
/// external as any other call. Polls are told by the guard, in turn: one begins, one ends in waiting, the next begins.
pub trait Connection: Send + Sync {
    /// A poll of the transaction begins: whether what it waited for since the last one ended was the server. It was woken
    /// when it had `waited` so long; or not at all, and its task had another reason.
    fn poll_begins(&self, waited: Option<Duration>) -> bool;

    /// A poll of the transaction has ended, and it waits for something.
    fn poll_waits(&self);

    /// How many statements have ended in this attempt, and the last one.
    fn statements(&self) -> (usize, Option<String>);

    /// The statement that runs, where it is known which one, and for how long. None while none runs, and where that isn't known.
    fn running(&self) -> Option<(Option<String>, Duration)> {
        None
    }

    /// Whether the server owes it an answer that somebody waits for. Only asked between polls.
    fn is_waiting(&self) -> bool {
        false
    }

    /// Whether it is lent to somebody whose statements aren't seen.
    fn is_lent(&self) -> bool {
        false
    }

    /// For how long the server has had nothing to do in this attempt: since the last answer was read, and nothing was sent
    /// after it. None while a statement runs, and where that isn't known.
    fn idle(&self) -> Option<Duration> {
        None
    }
}

/// The statements of a driver whose futures all pass through its adapter.
#[derive(Default)]
pub struct Calls {
    /// Statements that are waited for.
    waiting: AtomicU32,
    /// Whether the connection is lent to somebody whose statements aren't seen.
    is_lent: AtomicBool,
    was_waiting: AtomicBool,
    /// When the statement started that hasn't ended; 0 if there is none.
    started: AtomicU64,
    /// When something was waited for last; 0 before the first attempt.
    answered: AtomicU64,
    texts: Mutex<Texts>,
}

/// The texts of statements, whose memory is used again.
#[derive(Default)]
struct Texts {
    /// How many have ended.
    ended: usize,
    last: String,
    /// The one that runs.
    running: String,
}

impl Calls {
    /// Runs what goes to the server, and is waited for.
    pub async fn waiting<F: Future>(&self, statement: F) -> F::Output {
        let mut statement = pin!(statement);
        let mut waiting = Waiting::new(self);
        poll_fn(|cx| waiting.poll(|| statement.as_mut().poll(cx))).await
    }

    /// A statement starts.
    pub fn started(&self, sql: &str) {
        let running = &mut self.texts().running;
        running.clear();
        running.push_str(sql);
        self.started.store(now(), Relaxed);
    }

    /// A statement has ended.
    pub fn ended(&self, sql: &str) {
        self.answered.store(now(), Relaxed);
        let was_started = self.started.swap(0, Relaxed) != 0;
        let Texts { ended, last, running } = &mut *self.texts();
        *ended += 1;
        if was_started && running == sql {
            std::mem::swap(last, running);
        } else {
            last.clear();
            last.push_str(sql);
        }
    }

    /// An attempt begins.
    pub fn begin(&self) {
        self.is_lent.store(false, Relaxed);
        self.started.store(0, Relaxed);
        self.answered.store(now(), Relaxed);
        self.texts().ended = 0;
    }

    /// The connection is lent: what is waited for from now on may be the server, or something else.
    pub fn lent(&self) {
        self.is_lent.store(true, Relaxed);
    }

    /// It came back.
    pub fn returned(&self) {
        self.is_lent.store(false, Relaxed);
    }

    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection for Calls {
    fn poll_begins(&self, _waited: Option<Duration>) -> bool {
        // In doubt it is the server: nobody shall be told of a wait that is none.
        self.was_waiting.load(Relaxed) || self.is_lent.load(Relaxed)
    }

    fn poll_waits(&self) {
        self.was_waiting.store(self.waiting.load(Relaxed) > 0, Relaxed);
    }

    fn statements(&self) -> (usize, Option<String>) {
        let texts = self.texts();
        (texts.ended, (texts.ended > 0).then(|| texts.last.clone()))
    }

    fn running(&self) -> Option<(Option<String>, Duration)> {
        let texts = self.texts();
        let started = self.started.load(Relaxed);
        let sql = Some(texts.running.clone());
        (started != 0).then(|| (sql, Duration::from_nanos(now().saturating_sub(started))))
    }

    fn is_waiting(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    fn is_lent(&self) -> bool {
        self.is_lent.load(Relaxed)
    }

    fn idle(&self) -> Option<Duration> {
        let answered = self.answered.load(Relaxed);
        let is_busy = self.started.load(Relaxed) != 0 || self.is_waiting() || self.is_lent();
        let is_known = answered != 0 && !is_busy;
        is_known.then(|| Duration::from_nanos(now().saturating_sub(answered)))
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// One statement, which is waited for from a poll that says so to the next one, or until it is dropped.
#[derive(Debug)]
pub struct Waiting<C: AsRef<Calls>> {
    calls: C,
    is_waited_for: bool,
}

impl<C: AsRef<Calls>> Waiting<C> {
    /// Not yet.
    pub fn new(calls: C) -> Self {
        Self { calls, is_waited_for: false }
    }

    /// Polls the statement.
    pub fn poll<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let poll = {
            let _driving = Driving::start();
            #[cfg(feature = "origins")]
            late::comes_by();
            poll()
        };
        self.set(poll.is_pending());
        poll
    }

    fn set(&mut self, waits: bool) {
        if waits != self.is_waited_for {
            self.is_waited_for = waits;
            let Calls { waiting, answered, .. } = self.calls.as_ref();
            if waits {
                waiting.fetch_add(1, Relaxed);
            } else {
                answered.store(now(), Relaxed);
                waiting.fetch_sub(1, Relaxed);
            }
        }
    }
}

impl<C: AsRef<Calls>> Drop for Waiting<C> {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl AsRef<Self> for Calls {
    fn as_ref(&self) -> &Self {
        self
    }
}
