//! What a transaction tells: its failures noted, its outcome counted, its report handed out.

use super::{
    ending::Next,
    progress::{Progress, Teller},
};
use crate::{
    clock,
    dialect::failure::Failure,
    error::{
        Error, ErrorKind,
        outcome::Outcome,
        report::{Attempt, Report},
        trail::Trail,
    },
    retry::{
        patience::Patience,
        policy::GiveUp,
        remedy::{Cause, Phase, Remedy},
    },
    telemetry::events,
};
use std::{sync::Arc, time::Duration};

impl<H> Progress<H> {
    pub(super) fn refuse(&mut self, kind: ErrorKind, reason: Option<GiveUp>, trail: Trail) -> Next {
        Next::Return(Err(self.error(kind, reason, trail).into()))
    }

    pub(super) fn error(&mut self, kind: ErrorKind, reason: Option<GiveUp>, trail: Trail) -> Error {
        let (kind, failure) = match self.in_doubt.take() {
            // A COMMIT in doubt stays in doubt, whatever stopped the attempts after it.
            Some(doubt) => (ErrorKind::CommitUnknown { xid: doubt.xid }, Some(doubt.failure)),
            None => (kind, self.failures.last().map(|attempt| attempt.failure.clone())),
        };
        let outcome = Error::new(kind.clone(), None, None).outcome();
        let report = self.report(outcome, reason, trail);
        let is_callers = match kind {
            ErrorKind::Failed => self.is_callers(reason),
            ErrorKind::IdempotencyKeyReused { .. } => true,
            // Nobody has waited: it is what the caller asked to hear.
            ErrorKind::IdempotencyKeyInProgress { .. } => !self.awaits_key,
            _ => false,
        };
        self.tell(&report, is_callers);
        Error::new(kind, failure, Some(report))
    }

    /// Whether the last failure is the caller's own business, and no bound on attempts has ended the transaction.
    pub(super) fn is_callers(&self, reason: Option<GiveUp>) -> bool {
        reason.is_none() && self.failures.last().is_some_and(Attempt::is_callers)
    }

    pub(super) fn note(&mut self, phase: Phase, failure: Failure, cause: Cause) {
        self.note_for(phase, failure, cause, cause.remedy());
    }

    /// The same where something else follows than the cause asks for.
    pub(super) fn note_for(
        &mut self,
        phase: Phase,
        failure: Failure,
        cause: Cause,
        remedy: Remedy,
    ) {
        let number = self.course.attempts();
        if matches!(cause, Cause::Deadlock | Cause::LockTimeout) {
            self.call.named.teach(Patience::collided);
        }
        events::attempt_failed(&self.call.named.name, number, &failure, cause, remedy);
        self.failures.push(Attempt {
            number,
            phase,
            failure,
            cause,
            remedy,
            lock_timeout: self.course.limits().lock.duration(),
            took: clock::since(self.attempt_started),
            pause: None,
        });
    }

    pub(super) fn count(&mut self, outcome: Outcome, elapsed: Duration) {
        self.teller = Teller::Done;
        events::ended(&self.call.named.meters, outcome, self.course.attempts(), elapsed);
    }

    pub(super) fn report(&self, outcome: Outcome, gave_up: Option<GiveUp>, trail: Trail) -> Report {
        Report {
            transaction: Arc::clone(&self.call.named.name),
            place: self.call.place,
            outcome,
            attempts: self.course.attempts(),
            failures: self.failures.clone(),
            gave_up,
            rerun: self.rerun.has_run,
            elapsed: clock::since(self.started),
            trail,
        }
    }

    /// Counts a transaction that failed, and hands its report out. The report is logged too, unless the failure is the caller's
    /// own business: its error says all, and an event at level DEBUG was sent already.
    pub(super) fn tell(&mut self, report: &Report, is_callers: bool) {
        self.count(report.outcome, report.elapsed);
        // First, because an event shows what its span says.
        events::mark_span(report);
        if !is_callers && let Some(left_out) = self.is_logged(report) {
            events::failed(report, left_out);
        }
        self.hand_out(report);
    }

    /// Whether the report of a failure is logged now, and how many of its kind weren't since the last one.
    fn is_logged(&self, report: &Report) -> Option<u64> {
        // What is in doubt is always worth a line.
        if report.outcome == Outcome::Unknown {
            return Some(0);
        }
        let last = report.failures.last();
        let about = last.map(|attempt| (attempt.cause, attempt.failure.sqlstate()));
        self.call.named.failures.admits(about, clock::now())
    }

    pub(super) fn hand_out(&self, report: &Report) {
        if let Some(receive) = &self.call.shared.on_report {
            receive(report);
        }
    }
}

impl<H> Drop for Progress<H> {
    /// The caller went away, or the closure panicked: sessions that are dropped are closed, and so rolled back.
    fn drop(&mut self) {
        if matches!(self.teller, Teller::Nobody) && self.course.attempts() > 0 {
            let outcome =
                if self.in_doubt.is_some() { Outcome::Unknown } else { Outcome::RolledBack };
            self.count(outcome, clock::since(self.started));
        }
    }
}
