//! What a connection's instrumentation reports of statements, and what the guard asks the connection.

use super::{
    attempt::Attempt,
    link::{Link, State},
};
use crate::{binds::without_binds, failure::failure_of, observer::Listener};
use diesel::result::Error as DieselError;
use std::{
    fmt,
    time::{Duration, Instant},
};
use txsafe::{
    Failure,
    driver::{Connection, may_change_limits},
};

/// The driver doesn't wake a task so long after the answer that it wakes it for.
const LATE_WAKE: Duration = Duration::from_millis(10);

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

#[cfg(test)]
mod tests {
    use super::*;
    use txsafe::driver::Notes;

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
