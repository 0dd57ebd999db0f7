//! What is known of one connection: whether something is in flight, how its transaction stands, what went wrong.
//!
//! Written by the stream, as bytes pass (`passed.rs`), and by the instrumentation, which knows SQL texts (`watched.rs`); read by
//! the session, here, and by the guard (`watched.rs`).

use super::{
    attempt::{Attempt, Status},
    said::{ServerError, Tag},
};
use futures_util::task::AtomicWaker;
use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};
use txsafe::{
    Failure, Trail,
    driver::{
        Alarm, KnownLimits, Limits, Notes, Standing, Tracked, UNREAD_ROWS, lock_mutex as lock,
    },
};

type Cancel = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What is known of one connection.
pub(crate) struct Link {
    state: Mutex<State>,
    /// Woken when nothing is in flight any more.
    pub(super) idle: AtomicWaker,
    /// Woken when the stream is to break off.
    pub(super) reader: AtomicWaker,
    pub(super) hung_up: AtomicBool,
    /// Rows of an answer have come, and not its end.
    pub(super) sends_rows: AtomicBool,
    cancel: OnceLock<Cancel>,
    /// Its entry on the list of its pool, if the pool has one.
    tracked: OnceLock<Tracked>,
    /// Bounds what is waited for on this connection.
    pub(crate) alarm: Alarm,
}

pub(super) struct State {
    /// Bytes of this connection pass by; otherwise only what instrumentation reports is known.
    pub(super) on_wire: bool,
    /// Requests sent that end with a ReadyForQuery, the startup included, and ReadyForQuery seen.
    pub(super) sent: u64,
    pub(super) answered: u64,
    /// The last request that somebody waits for.
    pub(super) awaited: u64,
    pub(super) status: Status,
    pub(super) lost: Option<Failure>,
    /// What the requests run that have no answer yet.
    pub(super) in_flight: VecDeque<Option<Arc<str>>>,
    /// The error in the answer that is being read.
    pub(super) error: Option<ServerError>,
    pub(super) attempt: Option<Attempt>,
    /// What the session's own limits are.
    pub(super) limits: KnownLimits,
}

impl Link {
    /// Of a connection whose stream is observed.
    pub(crate) fn on_wire() -> Self {
        Self::new(true)
    }

    /// Of a connection that was built elsewhere: only its instrumentation reports.
    pub(crate) fn off_wire() -> Self {
        Self::new(false)
    }

    fn new(on_wire: bool) -> Self {
        Self {
            state: Mutex::new(State {
                on_wire,
                sent: 0,
                answered: 0,
                awaited: 0,
                status: Status::Idle,
                lost: None,
                in_flight: VecDeque::new(),
                error: None,
                attempt: None,
                limits: KnownLimits::default(),
            }),
            idle: AtomicWaker::new(),
            reader: AtomicWaker::new(),
            hung_up: AtomicBool::new(false),
            sends_rows: AtomicBool::new(false),
            cancel: OnceLock::new(),
            tracked: OnceLock::new(),
            alarm: Alarm::default(),
        }
    }

    /// Whether bytes of this connection have passed by.
    pub(crate) fn is_on_wire(&self) -> bool {
        let state = self.state();
        state.on_wire && state.answered > 0
    }

    /// The session's own limits, where they were read and nothing that passed by may have changed them.
    pub(crate) fn known_limits(&self) -> Option<Limits> {
        self.state().limits.get()
    }

    /// They were read.
    pub(crate) fn keep_limits(&self, limits: Limits) {
        self.state().limits.keep(limits);
    }

    /// An attempt begins: its BEGIN is the next request.
    pub(crate) fn begin(&self, bind_values: bool, notes: Notes) {
        let now = Instant::now();
        let mut state = self.state();
        let begin_answer = state.sent + 1;
        if !state.on_wire {
            state.status = Status::Open;
        }
        state.attempt = Some(Attempt::new(begin_answer, bind_values, notes, now));
    }

    /// BEGIN is behind us, whether its answer was awaited, came at once, or is read by nobody: what is told begins here.
    pub(crate) fn begin_sent(&self) {
        if let Some(attempt) = &mut self.state().attempt {
            attempt.told.begun();
        }
    }

    /// Whether some statement was started whose caller hasn't seen its end: it was dropped, and its request may not
    /// even have been sent yet.
    pub(crate) fn has_abandoned(&self) -> bool {
        self.state().attempt.as_ref().is_some_and(|attempt| !attempt.told.started.is_empty())
    }

    /// What is answered from now on ends the transaction.
    pub(crate) fn ending(&self) {
        if let Some(attempt) = &mut self.state().attempt {
            attempt.ending = true;
        }
    }

    /// How the server confirmed the end, if it did.
    pub(crate) fn end(&self) -> Option<Tag> {
        self.state().attempt.as_ref().and_then(|attempt| attempt.end)
    }

    /// Forgets the attempt.
    pub(crate) fn finish(&self) {
        self.state().attempt = None;
    }

    /// Whether a transaction is known to be open, and nothing is in flight.
    pub(crate) fn is_in_transaction(&self) -> bool {
        let state = self.state();
        state.on_wire
            && state.lost.is_none()
            && state.is_idle()
            && state.status != Status::Idle
            && state.answered > 0
    }

    /// Whether the transaction may not be the one that was begun, and nothing that was seen tells; `is_replaced`: another
    /// instrumentation has taken the place of ours.
    pub(crate) fn is_unsure(&self, is_replaced: bool) -> bool {
        let state = self.state();
        let Some(attempt) = &state.attempt else { return false };
        attempt.doubts > 0 || attempt.told.may_have_left() || (is_replaced && !state.on_wire)
    }

    /// Whether nothing is in flight and no transaction is open.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state();
        state.lost.is_none() && state.is_idle() && state.status == Status::Idle
    }

    /// Whether a request waits for its answer.
    pub(crate) fn is_in_flight(&self) -> bool {
        let state = self.state();
        state.lost.is_none() && !state.is_idle()
    }

    /// How long to wait for what is in flight: `most`, and at most [`UNREAD_ROWS`] if rows are still coming, because nobody reads
    /// them.
    pub(crate) fn patience(&self, most: Duration) -> Duration {
        if self.sends_rows.load(Ordering::Relaxed) { most.min(UNREAD_ROWS) } else { most }
    }

    /// Whether BEGIN has been answered and nothing is in flight, or the connection is lost.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.state();
        let begun = state.attempt.as_ref().is_none_or(|a| state.answered >= a.begin_answer);
        !state.on_wire || state.lost.is_some() || (begun && state.is_idle())
    }

    /// Waits until BEGIN has been answered and nothing is in flight, or the connection is lost.
    pub(crate) async fn settled(&self) {
        poll_fn(|cx| {
            self.idle.register(cx.waker());
            if self.is_settled() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// How the transaction stands.
    pub(crate) fn standing(&self, savepoint_is_open: bool) -> Standing {
        let state = self.state();
        // Whatever came after: what ran before may be committed.
        if state.attempt.as_ref().is_some_and(|attempt| attempt.left) {
            return Standing::Ended;
        }
        if let Some(failure) = &state.lost {
            return Standing::Lost(failure.clone());
        }
        let Some(attempt) = &state.attempt else { return Standing::Ended };
        if let Some(failure) = &attempt.begin_failure {
            return match attempt.ran_unprotected {
                true => Standing::Unprotected(failure.clone()),
                false => Standing::NotBegun(failure.clone()),
            };
        }
        if !state.is_idle() {
            return Standing::InFlight(attempt.told.aborted_by.clone());
        }
        if state.status == Status::Idle {
            return Standing::Ended;
        }
        if let Some(failure) = &attempt.told.aborted_by {
            return Standing::Aborted(failure.clone());
        }
        if savepoint_is_open {
            return Standing::SavepointOpen;
        }
        Standing::Open(attempt.told.recovered_from.clone())
    }

    /// What is known to have gone wrong, in an answer that may not have been read to its end.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let state = self.state();
        let attempt = state.attempt.as_ref();
        let known = state.lost.clone().or_else(|| {
            let attempt = attempt?;
            attempt.begin_failure.clone().or_else(|| attempt.told.aborted_by.clone())
        });
        known.or_else(|| state.error.clone().map(ServerError::into_failure))
    }

    /// The trail of the attempt so far.
    pub(crate) fn take_trail(&self) -> Trail {
        let mut state = self.state();
        state
            .attempt
            .as_mut()
            .map(|attempt| {
                attempt.told.abandoned();
                attempt.tell_of_errors();
                std::mem::take(&mut attempt.told.trail)
            })
            .unwrap_or_default()
    }

    /// Breaks the connection off at once, whatever it waits for: the server rolls back and frees the locks.
    pub(crate) fn hang_up(&self) {
        self.hung_up.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// How a statement that is running is cancelled.
    pub(crate) fn set_cancel(&self, cancel: Cancel) {
        // Set once, where the connection is made.
        let _ = self.cancel.set(cancel);
    }

    /// It is on the list of its pool until it is closed.
    pub(crate) fn set_tracked(&self, tracked: Tracked) {
        // Set once, where the connection is made.
        let _ = self.tracked.set(tracked);
    }

    /// The code that runs takes it from its pool.
    pub(crate) fn taken(&self) {
        self.tracked.get().into_iter().for_each(Tracked::taken);
    }

    /// The request to cancel what is running, if this connection can be asked to.
    pub(crate) fn cancel(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        self.cancel.get().map(|cancel| cancel())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that could panic leaves the state half written.
        lock(&self.state)
    }
}

impl State {
    /// Whether a request is BEGIN, or the end of the transaction.
    pub(super) fn is_ours(&self, request: u64) -> bool {
        let attempt = self.attempt.as_ref();
        attempt.is_some_and(|attempt| attempt.ending || request == attempt.begin_answer)
    }

    /// Whether nothing that somebody waits for is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.answered >= self.awaited
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Link")
            .field("on_wire", &state.on_wire)
            .field("in_flight", &state.sent.saturating_sub(state.answered))
            .field("status", &state.status)
            .field("lost", &state.lost)
            .finish_non_exhaustive()
    }
}
