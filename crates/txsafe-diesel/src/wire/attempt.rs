//! What is known of the attempt that runs on a connection.

use super::said::Tag;
use std::{collections::VecDeque, time::Instant};
use txsafe::{Failure, SqlState, Trail};

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
    /// The failure that aborted the transaction.
    pub(super) aborted_by: Option<Failure>,
    /// A failure that a savepoint was rolled back for, with nothing done since.
    pub(super) recovered_from: Option<Failure>,
    /// The statement whose error is still being read off the wire.
    pub(super) failed_statement: Option<String>,
    /// The transaction ended before it was told to.
    pub(super) left: bool,
    /// The end has been asked for, and how it came.
    pub(super) ending: bool,
    pub(super) end: Option<Tag>,
    pub(super) trail: Trail,
    pub(super) bind_values: bool,
    /// Statements whose callers haven't seen their end, in order; some never will.
    pub(super) started: VecDeque<Started>,
    /// When the first request was sent that no finished statement accounts for.
    pub(super) statement: Option<Instant>,
    pub(super) last_answer: Instant,
}

/// A statement as its caller started it.
pub(super) struct Started {
    pub(super) at: Instant,
    /// With bind values, if the trail wants them.
    pub(super) sql: Option<String>,
}

/// Statements that were started and not finished are remembered up to this number.
pub(super) const MOST_STARTED: usize = 64;

impl Attempt {
    /// An attempt whose BEGIN is answered by answer number `begin_answer`.
    pub(super) fn new(begin_answer: u64, bind_values: bool, now: Instant) -> Self {
        Self {
            begin_answer,
            begun: false,
            begin_failure: None,
            ran_unprotected: false,
            aborted_by: None,
            recovered_from: None,
            failed_statement: None,
            left: false,
            ending: false,
            end: None,
            trail: Trail::new(now),
            bind_values,
            started: VecDeque::new(),
            statement: None,
            last_answer: now,
        }
    }

    /// Names the statement of the failure that has none yet, and says with which code it failed.
    pub(super) fn name_statement(&mut self, sql: &str) -> Option<Option<SqlState>> {
        let known = [&mut self.aborted_by, &mut self.recovered_from].into_iter().flatten();
        let unnamed = known.into_iter().find(|failure| failure.statement().is_none())?;
        *unnamed = unnamed.clone().with_statement(Some(sql.to_owned()));
        Some(unnamed.sqlstate())
    }

    /// Without the wire, the transaction's status is what the end of a statement lets one conclude.
    pub(super) fn finished_unseen(
        &mut self,
        sql: &str,
        failure: Option<Failure>,
        status: &mut Status,
    ) {
        if let Some(failure) = failure {
            let failure = failure.with_statement(Some(sql.to_owned()));
            self.aborted_by.get_or_insert(failure);
            *status = Status::Failed;
        } else if sql.starts_with("ROLLBACK TO") {
            self.recovered_from = self.aborted_by.take();
            *status = Status::Open;
        } else if !sql.starts_with("SAVEPOINT") && !sql.starts_with("RELEASE") {
            self.recovered_from = None;
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
            self.aborted_by = self.aborted_by.take().or(failure);
            return;
        }
        match (before, now) {
            (_, Status::Idle) => self.left = true,
            (Status::Failed, Status::Open) => self.recovered_from = self.aborted_by.take(),
            (Status::Idle | Status::Open, Status::Failed) => self.aborted_by = failure,
            // 25P02: the server repeats itself.
            (Status::Failed, Status::Failed) => {}
            // An error that didn't abort came from a subtransaction the server ended itself.
            (Status::Idle | Status::Open, Status::Open) => {}
        }
        if self.aborted_by.is_none() && now == Status::Failed {
            let message = "the transaction is aborted";
            self.aborted_by = Some(Failure::refused(SqlState::IN_FAILED_SQL_TRANSACTION, message));
        }
    }
}
