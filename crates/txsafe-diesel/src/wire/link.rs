//! What is known of one connection: whether something is in flight, how its transaction stands, what went wrong.
//!
//! Fed by the stream (bytes) and by the instrumentation (SQL text); asked by the session.

use super::{
    asked::Request,
    attempt::{Attempt, Status},
    said::{ServerError, Tag},
};
use crate::{binds::without_binds, failure::failure_of, observer::Listener};
use diesel::result::Error as DieselError;
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
    task::{Context, Poll},
    time::{Duration, Instant},
};
use txsafe::{
    Failure, Trail,
    driver::{
        Alarm, Connection, KnownLimits, Limits, Notes, Standing, Tracked, lock_mutex as lock,
        may_change_limits,
    },
};

type Cancel = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The driver doesn't wake a task so long after the answer that it wakes it for.
const LATE_WAKE: Duration = Duration::from_millis(10);

/// What is known of one connection.
pub(crate) struct Link {
    state: Mutex<State>,
    /// Woken when nothing is in flight any more.
    idle: AtomicWaker,
    /// Woken when the stream is to break off.
    reader: AtomicWaker,
    hung_up: AtomicBool,
    cancel: OnceLock<Cancel>,
    /// Who took it from its pool, if that tells.
    tracked: OnceLock<Tracked>,
    /// Bounds what is waited for on this connection.
    pub(crate) alarm: Alarm,
}

struct State {
    /// Bytes of this connection pass by; otherwise only what instrumentation tells is known.
    on_wire: bool,
    /// Requests sent that end with a ReadyForQuery, the startup included, and ReadyForQuery seen.
    sent: u64,
    answered: u64,
    /// The last request that somebody waits for.
    awaited: u64,
    status: Status,
    lost: Option<Failure>,
    /// What the requests run that have no answer yet.
    in_flight: VecDeque<Option<Arc<str>>>,
    /// The error in the answer that is being read.
    error: Option<ServerError>,
    attempt: Option<Attempt>,
    /// What the session's own limits are.
    limits: KnownLimits,
}

impl Link {
    /// Of a connection whose stream is observed.
    pub(crate) fn on_wire() -> Self {
        Self::new(true)
    }

    /// Of a connection that was built elsewhere: only its instrumentation tells.
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

    // --- what the stream tells ---

    /// A request was sent at `at` or soon after. The server answers one that lets go of a prepared statement, too, but nobody waits
    /// for that.
    pub(super) fn request_sent(&self, request: Request, at: Instant) {
        let mut state = self.state();
        state.sent += 1;
        let sql = request.sql.as_deref();
        if sql.is_some_and(|sql| !state.is_ours(state.sent) && may_change_limits(sql)) {
            state.limits.forget();
        }
        state.in_flight.push_back(request.sql);
        if request.lets_go {
            return;
        }
        state.awaited = state.sent;
        if let Some(attempt) = &mut state.attempt {
            attempt.statement.get_or_insert(at);
        }
    }

    pub(crate) fn error_received(&self, body: &[u8]) {
        let Some(mut error) = ServerError::parse(body) else { return };
        let now = Instant::now();
        let mut state = self.state();
        // Of several that were sent together it isn't known when each began.
        let is_alone = state.sent == state.answered + 1;
        let answer = state.answered + 1;
        let sql = state.in_flight.front().cloned().flatten();
        if let Some(attempt) = &mut state.attempt {
            if let Some(sql) = sql.filter(|_| answer > attempt.begin_answer && !attempt.ending) {
                attempt.error_received(&sql, error.sqlstate);
                error.statement = Some(sql);
            }
            // The caller hears of it before the answer has been read to its end.
            attempt.last_answer = now;
            let sent = attempt.statement.filter(|_| is_alone);
            error.took = sent.map(|sent| now.saturating_duration_since(sent));
        }
        if error.is_fatal {
            // The last word before the end of the stream.
            state.lost = Some(error.into_failure());
        } else {
            state.error = Some(error);
        }
    }

    pub(crate) fn completed(&self, tag: Tag) {
        let mut state = self.state();
        let answer = state.answered + 1;
        let Some(attempt) = &mut state.attempt else { return };
        if answer == attempt.begin_answer {
            attempt.begun |= tag == Tag::Begin;
            return;
        }
        if attempt.ending {
            attempt.end = Some(tag);
            return;
        }
        match tag {
            Tag::Commit => attempt.left = true,
            Tag::Rollback => attempt.doubts += 1,
            // Inside a transaction the server only warns of BEGIN.
            Tag::Begin | Tag::Savepoint | Tag::Release => {}
            Tag::Other => attempt.told.recovered_from = None,
        }
    }

    pub(crate) fn ready(&self, status: Option<&u8>) {
        let now = Instant::now();
        let mut state = self.state();
        let status = match status {
            Some(b'T') => Status::Open,
            Some(b'E') => Status::Failed,
            _ => Status::Idle,
        };
        state.answered += 1;
        state.in_flight.pop_front();
        let failure = state.error.take().map(ServerError::into_failure);
        let (before, answered) = (state.status, state.answered);
        state.status = status;
        if let Some(attempt) = &mut state.attempt {
            attempt.last_answer = now;
            attempt.answered(answered, before, status, failure);
        }
        let is_idle = state.is_idle();
        drop(state);
        if is_idle {
            self.idle.wake();
        }
    }

    pub(crate) fn broke(&self, message: &str) {
        let mut state = self.state();
        state.lost.get_or_insert_with(|| Failure::lost(None, message));
        drop(state);
        self.idle.wake();
    }

    /// Whether the stream is to break off; asked by its reader before each read.
    pub(crate) fn is_hung_up(&self, cx: &Context<'_>) -> bool {
        self.reader.register(cx.waker());
        self.hung_up.load(Ordering::Acquire)
    }

    // --- what the session does ---

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

    /// It is of a pool that tells who takes it.
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

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that could panic leaves the state half written.
        lock(&self.state)
    }
}

impl Listener for Link {
    /// A caller started a statement; `query` shows it with its bind values.
    fn started(&self, query: &dyn fmt::Display) {
        if let Some(attempt) = &mut self.state().attempt {
            attempt.told.started(query);
        }
    }

    /// A statement came to its end, for its caller.
    fn finished(&self, query: &dyn fmt::Display, error: Option<&DieselError>) {
        let mut state = self.state();
        if !state.on_wire && state.attempt.as_ref().is_none_or(|attempt| !attempt.ending) {
            let sql = query.to_string();
            if may_change_limits(without_binds(&sql)) {
                state.limits.forget();
            }
        }
        let State { on_wire, lost, attempt, .. } = &mut *state;
        let Some(attempt) = attempt.as_mut().filter(|attempt| !attempt.ending) else { return };
        let (sql, failure) = (query.to_string(), error.map(failure_of));
        let started = attempt.told.take_started(&sql);
        let end = if *on_wire { attempt.last_answer } else { Instant::now() };
        // Statements that were sent together share their start.
        let start = attempt.statement.take().or(started.as_ref().map(|s| s.at)).unwrap_or(end);
        // Of rows, Diesel sees the end before their error.
        let error = attempt.take_error(&sql).map(Some);
        let code = error.or_else(|| failure.as_ref().map(Failure::sqlstate));
        attempt.statement_ended(&sql, *on_wire, code.is_none());
        if !*on_wire {
            match failure {
                Some(failure) if failure.is_lost() => {
                    lost.get_or_insert(failure);
                }
                failure => {
                    let took = Some(end.saturating_duration_since(start));
                    let failure = failure.map(|failure| failure.with_took(took));
                    attempt.told.finished_unseen(&sql, failure);
                }
            }
        }
        let with_binds = started.and_then(|started| started.with_binds);
        attempt.told.ran(sql, with_binds, (start.min(end), end), code);
    }
}

impl Connection for Link {
    fn poll_begins(&self, waited: Option<Duration>) -> bool {
        let mut state = self.state();
        let (on_wire, counts) = (state.on_wire, (state.sent, state.answered));
        let Some(attempt) = &mut state.attempt else { return false };
        let watch = attempt.watch;
        attempt.watch.before = counts;
        let has_moved = counts != watch.before;
        // A statement that its caller waits for may not even have been sent: the driver may wake the task once more for the
        // answer before. Or the caller has given it up, and waits for something else, while nothing moves on the wire; that
        // takes longer. Without the wire, nobody can tell.
        let has_given_up = on_wire && !has_moved && waited.is_some_and(|it| it >= LATE_WAKE);
        watch.was_in_flight || (watch.has_caller && !has_given_up)
    }

    fn poll_waits(&self) {
        let mut state = self.state();
        let State { answered, awaited, attempt, .. } = &mut *state;
        let Some(attempt) = attempt else { return };
        attempt.watch.has_caller = !attempt.told.started.is_empty();
        attempt.watch.was_in_flight = *awaited > (*answered).max(attempt.begin_answer);
    }

    fn statements(&self) -> (usize, Option<String>) {
        self.state().attempt.as_ref().map(|attempt| attempt.told.statements()).unwrap_or_default()
    }

    fn running(&self) -> Option<(Option<String>, Duration)> {
        let state = self.state();
        let Attempt { told, statement, last_answer, .. } = state.attempt.as_ref()?;
        if !state.on_wire {
            return told.started.front().map(|started| (None, started.at.elapsed()));
        }
        let sql = state.in_flight.iter().rev().flatten().next().map(|sql| sql.to_string());
        let is_any = !state.is_idle() && state.lost.is_none();
        is_any.then(|| (sql, statement.unwrap_or(*last_answer).elapsed()))
    }

    fn is_waiting(&self) -> bool {
        let state = self.state();
        state.lost.is_none() && !state.is_idle()
    }

    fn idle(&self) -> Option<Duration> {
        let state = self.state();
        let Attempt { told, last_answer, .. } = state.attempt.as_ref()?;
        let (is_known, since) = match state.on_wire {
            true => (state.is_idle(), *last_answer),
            false => (told.started.is_empty(), told.ended),
        };
        (is_known && state.lost.is_none()).then(|| since.elapsed())
    }
}

impl State {
    /// Whether a request is BEGIN, or the end of the transaction.
    fn is_ours(&self, request: u64) -> bool {
        let attempt = self.attempt.as_ref();
        attempt.is_some_and(|attempt| attempt.ending || request == attempt.begin_answer)
    }

    /// Whether nothing that somebody waits for is in flight.
    fn is_idle(&self) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begin_is_no_statement_of_the_closure_however_fast_it_is_answered() {
        for is_answered_at_once in [false, true] {
            let link = Link::on_wire();
            link.begin(false, Notes::default());
            link.started(&"BEGIN");
            if is_answered_at_once {
                link.finished(&"BEGIN", None);
            }
            link.begin_sent();
            assert!(!link.has_abandoned() && link.take_trail().is_empty());
            assert_eq!(link.statements(), (0, None));
        }
    }
}
