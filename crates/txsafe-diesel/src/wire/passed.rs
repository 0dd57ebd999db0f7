//! What a connection's stream reports, as bytes pass: requests, answers, and its end.

use super::{
    asked::Request,
    attempt::Status,
    link::Link,
    said::{ServerError, Tag},
};
use std::{sync::atomic::Ordering, task::Context, time::Instant};
use txsafe::{Failure, driver::may_change_limits};

impl Link {
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

    /// A row came.
    pub(crate) fn row(&self) {
        self.sends_rows.store(true, Ordering::Relaxed);
    }

    pub(crate) fn ready(&self, status: Option<&u8>) {
        let now = Instant::now();
        self.sends_rows.store(false, Ordering::Relaxed);
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
}
