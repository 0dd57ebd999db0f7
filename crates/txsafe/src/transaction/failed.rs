//! What follows from an attempt that failed, and whose end is known.

use super::{
    call::Call, course::Moment, cure::with_cure, ending::Next, progress::Progress,
    returned::RunError,
};
use crate::{
    clock,
    dialect::{condition::Condition, failure::Failure},
    driver::session::{CallersError, Standing},
    error::{
        ErrorKind,
        outcome::Outcome,
        trail::{Statement, Trail},
    },
    retry::{
        policy::GiveUp,
        remedy::{Cause, Phase, Remedy},
    },
    telemetry::events,
};
use std::time::Duration;

/// The last statement, which hasn't ended.
fn left_running(trail: &Trail) -> Failure {
    match trail.statements().last() {
        Some(Statement { sql, took, .. }) => {
            Failure::local(format!("still running after {took:.1?}"))
                .with_statement(Some(sql.clone()))
        }
        None => Failure::local("still running"),
    }
}

/// What the caller gets if there is no further attempt.
pub(super) enum Otherwise {
    /// The closure's own error: the caller knows what it means, and the report says what became of the attempts.
    Callers,
    Ours(ErrorKind),
}

impl<H> Progress<H> {
    pub(super) fn not_committed(
        &mut self,
        result: Result<(), CallersError>,
        standing: Standing,
        trail: Trail,
    ) -> Next {
        let phase = Phase::Body;
        match (result, standing) {
            (_, Standing::NotBegun(failure)) => {
                let otherwise = Otherwise::Ours(ErrorKind::Failed);
                self.failed(Phase::Begin, failure, true, otherwise, trail)
            }
            (_, Standing::Unprotected(failure)) => {
                self.note(Phase::Begin, failure, Cause::Other);
                self.refuse(ErrorKind::RanUnprotected, None, trail)
            }
            (_, Standing::Ended) => self.refuse(ErrorKind::EndedByClosure, None, trail),
            (_, Standing::OutOfStep(failure)) => {
                self.note(phase, failure, Cause::Other);
                self.refuse(ErrorKind::OutOfStep, None, trail)
            }
            (_, Standing::Unidentified(failure)) => {
                self.note(phase, failure, Cause::Other);
                self.refuse(ErrorKind::Unidentified, None, trail)
            }
            (Ok(_), Standing::SavepointOpen | Standing::Open(None)) => {
                self.refuse(ErrorKind::SavepointLeftOpen, None, trail)
            }
            (Ok(_), Standing::InFlight(None)) => {
                self.note(phase, left_running(&trail), Cause::Other);
                self.refuse(ErrorKind::StatementLeftRunning, None, trail)
            }
            (Ok(_), Standing::Open(Some(failure)))
            | (Ok(_), Standing::InFlight(Some(failure)))
            | (Ok(_), Standing::Aborted(failure)) => {
                let otherwise = Otherwise::Ours(ErrorKind::RolledBackAtCommit);
                self.failed(phase, failure, true, otherwise, trail)
            }
            (Ok(_), Standing::Lost(failure)) => {
                self.failed(phase, failure, true, Otherwise::Ours(ErrorKind::Failed), trail)
            }
            (
                Err(CallersError),
                Standing::Open(Some(failure)) | Standing::InFlight(Some(failure)),
            )
            | (Err(CallersError), Standing::Aborted(failure) | Standing::Lost(failure)) => {
                self.failed(phase, failure, true, Otherwise::Callers, trail)
            }
            // Nothing of the database failed: it is the caller's own error, and nobody else's business.
            (Err(CallersError), Standing::Open(None) | Standing::InFlight(None))
            | (Err(CallersError), Standing::SavepointOpen) => {
                self.count(Outcome::RolledBack, clock::since(self.started));
                Next::Return(Err(RunError::Callers))
            }
        }
    }

    /// A failure that has not ended in doubt: another attempt, or the end.
    pub(super) fn failed(
        &mut self,
        phase: Phase,
        failure: Failure,
        closure_ran: bool,
        otherwise: Otherwise,
        trail: Trail,
    ) -> Next {
        let cause = self.cause_of(&failure, phase, &trail);
        if cause == Cause::LockTimeout && failure.condition() == Condition::Canceled {
            self.course.believed_canceled();
        }
        let failure = with_cure(failure, cause, phase, &self.call.settings, &self.course);
        self.note(phase, failure, cause);
        if cause.remedy() == Remedy::Reconnect {
            self.call.shared.identify(None);
        }
        if cause == Cause::StatementCanceled && self.has_expired() {
            // The server's timeout was cut to the caller's deadline, and came first by a hair.
            return self.refuse(ErrorKind::DeadlineExceeded, Some(GiveUp::Deadline), trail);
        }
        match cause.remedy() {
            // The key couldn't be looked at; what became of the COMMIT before is worth asking again.
            Remedy::Abort if self.in_doubt.is_some() => self.retry_in_doubt(trail),
            Remedy::Abort => self.give_up(None, otherwise, trail),
            Remedy::Reconnect if self.call.borrowed => {
                self.give_up(Some(GiveUp::BorrowedConnection), otherwise, trail)
            }
            Remedy::Reconnect | Remedy::Retry | Remedy::Verify => {
                self.retry(cause, closure_ran, otherwise, trail)
            }
        }
    }

    pub(super) fn retry(
        &mut self,
        cause: Cause,
        closure_ran: bool,
        otherwise: Otherwise,
        trail: Trail,
    ) -> Next {
        match self.pause_after(cause, closure_ran) {
            Ok(pause) => Next::Pause(pause),
            Err(reason) => {
                let otherwise = match otherwise {
                    Otherwise::Ours(ErrorKind::Failed) => {
                        Otherwise::Ours(ErrorKind::GaveUp(reason))
                    }
                    otherwise => otherwise,
                };
                self.give_up(Some(reason), otherwise, trail)
            }
        }
    }

    pub(super) fn pause_after(
        &mut self,
        cause: Cause,
        closure_ran: bool,
    ) -> Result<Duration, GiveUp> {
        let now = Moment {
            elapsed: clock::since(self.started),
            remaining: self.remaining(),
            dice: fastrand::f64(),
        };
        let Call { settings, shared, named, .. } = &self.call;
        let pause = self.course.after(cause, closure_ran, settings, &shared.budget, now)?;
        events::pausing(&named.name, pause);
        if let Some(attempt) = self.failures.last_mut() {
            attempt.pause = Some(pause);
        }
        Ok(pause)
    }

    fn give_up(&mut self, reason: Option<GiveUp>, otherwise: Otherwise, trail: Trail) -> Next {
        match otherwise {
            Otherwise::Ours(kind) => self.refuse(kind, reason, trail),
            Otherwise::Callers => {
                let report = self.report(Outcome::RolledBack, reason, trail);
                self.tell(&report, self.is_callers(reason));
                Next::Return(Err(RunError::Callers))
            }
        }
    }

    pub(super) fn cause_of(&self, failure: &Failure, phase: Phase, trail: &Trail) -> Cause {
        let settings = &self.call.settings;
        let is_aborted = failure.condition() == Condition::InFailedTransaction;
        let cause = match Cause::of(failure, phase) {
            Cause::CommitInDoubt => return Cause::CommitInDoubt,
            // No failure was seen before it, so it is that of what ran on the lent connection.
            Cause::Other if is_aborted && phase == Phase::Body && trail.ran_unseen() => {
                Cause::FailedUnseen
            }
            // The transaction itself is read only: another server wouldn't help.
            Cause::ReadOnlyServer if settings.is_read_only() => Cause::Other,
            Cause::StatementCanceled if self.course.is_lock_timeout(failure) => Cause::LockTimeout,
            Cause::LockTimeout if self.course.limits().is_shorter_lock_timeout(failure) => {
                Cause::LockNotAvailable
            }
            cause => cause,
        };
        if settings.opted_out(failure) {
            return Cause::OptedOut;
        }
        let is_opted_in = cause.remedy() == Remedy::Abort && settings.opted_in(failure.sqlstate());
        if is_opted_in { Cause::OptedIn } else { cause }
    }
}
