//! What is known of the attempt that runs on a connection.

use super::said::Tag;
use crate::told::Told;
use std::{sync::Arc, time::Instant};
use txsafe::{
    Failure, SqlState,
    driver::{Notes, leaves_transaction},
};

/// Errors whose callers haven't heard of them are remembered up to this number.
const MOST_ERRORS: usize = 64;

/// The transaction status of ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Idle,
    Open,
    Failed,
}

/// What is known of the attempt that runs.
pub(super) struct Attempt {
    /// The answer to BEGIN is this one, counted in ReadyForQuery.
    pub(super) begin_answer: u64,
    pub(super) begun: bool,
    pub(super) begin_failure: Option<Failure>,
    /// Statements completed outside any transaction, BEGIN having been refused.
    pub(super) ran_unprotected: bool,
    pub(super) told: Told,
    /// Errors of statements whose callers haven't heard of them. Some never do: that of a row comes after the end of its
    /// statement, as Diesel sees it.
    pub(super) errors: Vec<(Arc<str>, SqlState)>,
    /// The closure ended the transaction.
    pub(super) left: bool,
    /// What may have ended the transaction, and nothing that was seen tells: `ROLLBACK TO` a savepoint has the tag of
    /// `ROLLBACK AND CHAIN`, and a message with COMMIT in it may fail before or after that.
    pub(super) doubts: u32,
    /// The end has been asked for, and how it came.
    pub(super) ending: bool,
    pub(super) end: Option<Tag>,
    /// When the first request was sent that no finished statement accounts for.
    pub(super) statement: Option<Instant>,
    pub(super) last_answer: Instant,
    /// What the guard wants to know.
    pub(super) watch: Watch,
}

/// What was in flight when polls of the transaction began and ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Watch {
    /// Requests sent and answered when the last poll began.
    pub(super) before: (u64, u64),
    /// Whether some caller waited for its statement when it ended.
    pub(super) has_caller: bool,
    /// Whether something was in flight then, besides BEGIN.
    pub(super) was_in_flight: bool,
}

impl Attempt {
    /// An attempt whose BEGIN is answered by answer number `begin_answer`.
    pub(super) fn new(begin_answer: u64, bind_values: bool, notes: Notes, now: Instant) -> Self {
        Self {
            begin_answer,
            begun: false,
            begin_failure: None,
            ran_unprotected: false,
            told: Told::new(bind_values, notes, now),
            errors: Vec::new(),
            left: false,
            doubts: 0,
            ending: false,
            end: None,
            statement: None,
            last_answer: now,
            watch: Watch::default(),
        }
    }

    /// A statement came to its end, well or not.
    pub(super) fn statement_ended(&mut self, sql: &str, on_wire: bool, is_ok: bool) {
        let leaves = leaves_transaction(sql);
        if !is_ok {
            // Some of it may have run, and its tag may have been lost with the connection.
            self.doubts += u32::from(leaves);
        } else if !on_wire {
            self.left |= leaves;
        } else if self.doubts > 0 {
            // The tags tell, but for one that has two meanings.
            self.left |= leaves;
            self.doubts -= u32::from(sql.starts_with("ROLLBACK TO"));
        }
    }

    /// A statement failed, and its caller is to hear of it.
    pub(super) fn error_received(&mut self, sql: &Arc<str>, code: SqlState) {
        if self.errors.len() < MOST_ERRORS {
            self.errors.push((Arc::clone(sql), code));
        }
    }

    /// The error of a statement whose caller hears of it now.
    pub(super) fn take_error(&mut self, sql: &str) -> Option<SqlState> {
        let of_it = self.errors.iter().position(|(of, _)| sql.starts_with(&**of))?;
        Some(self.errors.remove(of_it).1)
    }

    /// The trail tells of the errors that came behind the ends of their statements.
    pub(super) fn tell_of_errors(&mut self) {
        for (sql, code) in self.errors.drain(..) {
            self.told.trail.failed(&sql, code);
        }
    }

    /// One request was answered.
    pub(super) fn answered(
        &mut self,
        answer: u64,
        before: Status,
        now: Status,
        failure: Option<Failure>,
    ) {
        if answer < self.begin_answer {
            return;
        }
        if answer == self.begin_answer {
            if !self.begun && failure.is_none() {
                // A request that somebody had queued and abandoned on this connection went first.
                self.begin_answer += 1;
            }
            self.begin_failure = failure;
            return;
        }
        if self.begin_failure.is_some() {
            self.ran_unprotected |= now == Status::Idle && failure.is_none();
            return;
        }
        if self.ending {
            self.told.aborted_by = self.told.aborted_by.take().or(failure);
            return;
        }
        match (before, now) {
            (_, Status::Idle) => self.left = true,
            (Status::Failed, Status::Open) => {
                // Whose callers haven't heard of them by now are gone, and the same SQL may run again.
                self.tell_of_errors();
                self.told.recovered_from = self.told.aborted_by.take();
            }
            (Status::Idle | Status::Open, Status::Failed) => self.told.aborted_by = failure,
            // 25P02: the server repeats itself.
            (Status::Failed, Status::Failed) => {}
            // An error that didn't abort came from a subtransaction the server ended itself.
            (Status::Idle | Status::Open, Status::Open) => {}
        }
        if self.told.aborted_by.is_none() && now == Status::Failed {
            let message = "the transaction is aborted";
            self.told.aborted_by =
                Some(Failure::refused(SqlState::IN_FAILED_SQL_TRANSACTION, message));
        }
    }
}
