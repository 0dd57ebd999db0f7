//! What a transaction tells: its failures noted, its outcome counted, its report handed out.

use super::{
    ending::Next,
    progress::{Progress, Teller},
};
use crate::{
    clock,
    dialect::failure::Failure,
    driver::session::CallersError,
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
        // The same of COMMIT, BEGIN or a question of ours as of the closure: the caller knows what it means.
        let is_expected = kind == ErrorKind::Failed && self.is_callers(reason);
        if is_expected {
            self.tell_quietly(&report);
        } else {
            self.tell(&report);
        }
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
            lock_timeout: self.course.lock_timeout(),
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
            elapsed: clock::since(self.started),
            trail,
        }
    }

    /// The transaction was begun by hand and has been rolled back; its caller asked for that, or for COMMIT.
    pub(crate) fn rolled_back_by_hand(&self, asked: Result<(), CallersError>) -> Result<(), Error> {
        if asked.is_err() || self.call.settings.dry_run {
            return Ok(());
        }
        let report = self.report(Outcome::RolledBack, None, Trail::default());
        let failure = self.failures.last().map(|attempt| attempt.failure.clone());
        Err(Error::new(ErrorKind::RollbackOnly, failure, Some(report)))
    }

    pub(super) fn tell(&mut self, report: &Report) {
        // First, because the event shows what its span says.
        self.mark_span(report);
        // What is in doubt is always worth a line.
        let left_out = match report.outcome {
            Outcome::Unknown => Some(0),
            _ => {
                let last = report.failures.last();
                let about = last.map(|attempt| (attempt.cause, attempt.failure.sqlstate()));
                self.call.named.failures.admits(about, clock::now())
            }
        };
        if let Some(left_out) = left_out {
            events::failed(report, left_out);
        }
        self.hand_out(report);
    }

    /// The same of what the caller knows how to deal with: its error says all, and an event at level DEBUG was sent already.
    pub(super) fn tell_quietly(&mut self, report: &Report) {
        self.mark_span(report);
        self.hand_out(report);
    }

    fn mark_span(&mut self, report: &Report) {
        self.count(report.outcome, report.elapsed);
        events::mark_span(report);
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
