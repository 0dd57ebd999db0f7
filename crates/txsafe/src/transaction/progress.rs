//! One transaction on its way through its attempts: what both run loops decide alike.

use super::{
    call::Call,
    course::{Course, Moment, Plan},
    cure::with_cure,
    doubt::InDoubt,
    ending::{Ended, Next},
    idle,
    keyed::Keyed,
    nested::{nested, outer_of},
    rerun::Rerun,
    returned::RunError,
    settings::Settings,
};
use crate::{
    clock,
    dialect::{
        Dialect,
        begin::{Begin, BeginSettings},
        condition::Condition,
        failure::Failure,
        limits::Limits,
        mark::Mark,
    },
    driver::{
        account::Account,
        session::{CallersError, Standing},
    },
    error::{Error, ErrorKind, outcome::Outcome, report::Attempt, trail::Trail},
    guard::{
        by_hand::ByHand,
        connection::Connection,
        scope::{self, Scope, Subject},
        second::Inside,
    },
    retry::{
        policy::GiveUp,
        remedy::{Cause, Phase, Remedy},
    },
    telemetry::events,
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::Span;

/// One transaction on its way through its attempts.
pub(crate) struct Progress<H> {
    pub(crate) call: Call,
    /// One for all attempts.
    pub(crate) span: Span,
    pub(super) course: Course,
    pub(super) started: Instant,
    pub(super) attempt_started: Instant,
    deadline: Option<Instant>,
    pub(super) failures: Vec<Attempt>,
    pub(super) in_doubt: Option<InDoubt<H>>,
    /// What is asked of the database now waits for another call with the key of this one, and for nothing else.
    pub(crate) awaits_key: bool,
    /// An attempt of this call has claimed its key, and its session may go on where its connection was lost.
    pub(super) claimed_before: bool,
    /// Ended attempts whose hooks are to be run, and whether they committed.
    pub(super) due: VecDeque<(Account<H>, bool)>,
    pub(super) rerun: Rerun,
    /// Who counts the outcome.
    pub(super) teller: Teller,
    /// A transaction inside another one, until its begin has ended.
    pub(super) inside: Option<Inside>,
    /// What is seen of one that is begun by hand.
    pub(crate) by_hand: Option<ByHand>,
}

/// Who counts the outcome of a transaction.
pub(super) enum Teller {
    /// Nobody yet: if the caller goes away or the closure panics, the attempt is rolled back.
    Nobody,
    /// COMMIT is on its way, and whoever gets its answer will.
    Commit,
    /// It has been counted.
    Done,
}

/// What the caller gets if there is no further attempt.
pub(super) enum Otherwise {
    /// The closure's own error: the caller knows what it means, and the report says what became of the attempts.
    Callers,
    Ours(ErrorKind),
}

impl<H> Progress<H> {
    /// Refuses a transaction inside another one on the same database.
    pub(crate) fn start(call: Call) -> Result<Self, Error> {
        if let Some(outer) = outer_of(&call) {
            return Err(nested(&outer, &call));
        }
        let started = clock::now();
        let timeout = call.settings.timeout.map(|timeout| started + timeout);
        let deadline = [timeout, call.settings.deadline].into_iter().flatten().min();
        let mut course = Course::new(call.once);
        course.nested = scope::is_inside_any();
        let inside = course.nested.then(|| Inside::another(&call.named.name, call.place));
        Ok(Self {
            span: call.span(),
            rerun: Rerun::of(&call, &course),
            call,
            course,
            started,
            attempt_started: started,
            deadline,
            failures: Vec::new(),
            in_doubt: None,
            awaits_key: false,
            claimed_before: false,
            due: VecDeque::new(),
            teller: Teller::Nobody,
            inside,
            by_hand: None,
        })
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How long COMMIT is waited for.
    pub(crate) fn commit_patience(&self) -> Duration {
        let patience = self.call.settings.commit_timeout();
        self.remaining().map_or(patience, |left| left.min(patience))
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.call.settings)
    }

    /// The closure runs inside this scope.
    pub(crate) fn scope(
        &mut self,
        connection: Arc<dyn Connection>,
        account: &Account<H>,
    ) -> Arc<Scope> {
        let Call { shared, named, place, settings, on_held, .. } = &self.call;
        let scope = Scope::new(Subject {
            database: shared.id,
            identity: shared.identity(),
            transaction: Arc::clone(&named.name),
            application_name: Arc::clone(&named.application_name),
            place,
            idle_timeout: self.idle_timeout(),
            wraps_a_test: settings.test_wrapper,
            guard: Arc::clone(&shared.guard),
            connection,
            pool: shared.pool.get().filter(|_| !on_held).map(Arc::clone),
            ledger: account.notes.ledger.clone(),
            gaps: account.notes.gaps.clone(),
            locks: account.notes.locks.clone(),
        });
        self.rerun.runs_in(&scope);
        self.look_for_held(&scope);
        scope
    }

    /// How long the attempt may send nothing, where that is known and there is a limit.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.course.idle_limit().duration()
    }

    /// What the next attempt may take.
    pub(crate) fn next_attempt(&mut self) -> Result<Plan, Error> {
        self.attempt_started = clock::now();
        self.awaits_key = false;
        let patience = self.call.named.patience();
        let plan = self.course.next(&self.call.settings, patience, self.remaining()).map_err(
            |reason| self.error(ErrorKind::GaveUp(reason), Some(reason), Trail::default()),
        )?;
        if !plan.is_rerun {
            self.call.named.meters.attempt();
        }
        Ok(plan)
    }

    /// What begins the attempt, on a session that has these limits of its own.
    pub(crate) fn begin(&mut self, plan: Plan, limits: Option<Limits>) -> Begin {
        let settings = &self.call.settings;
        let in_force = self.course.meet(plan, settings, limits);
        let settings = BeginSettings {
            isolation: settings.isolation,
            read_only: settings.read_only,
            deferrable: settings.deferrable,
            lock_timeout: in_force.lock.to_set(),
            lock_timeout_at_commit: in_force.lock_at_commit,
            statement_timeout: in_force.statement.to_set(),
            idle_in_transaction_session_timeout: in_force.idle.to_set(),
            transaction_timeout: in_force.transaction.to_set(),
            without_set: settings.without_set,
            application_name: &self.call.named.application_name,
            local: match &settings.local_sql {
                Some(local) if self.call.key.is_none() => &local.with_begin,
                _ => "",
            },
        };
        let begin = self.dialect().begin(&settings, Mark::new(fastrand::u64(..)));
        let is_awaited = plan.await_begin || (settings.without_set && begin.is_awaited());
        begin.awaited(is_awaited)
    }

    /// A connection was waited for since the attempt began, and this is what its pool looks like now.
    pub(crate) fn checked_out(&self) {
        self.call.named.meters.checkout(clock::since(self.attempt_started));
        self.call.shared.record_pool_state();
    }

    /// What the database is asked, and how its answers are read.
    pub(crate) fn dialect(&self) -> &'static dyn Dialect {
        self.call.shared.dialect
    }

    /// COMMIT is about to be sent.
    pub(crate) fn committing(&mut self) {
        self.teller = Teller::Commit;
    }

    /// What follows from the end of an attempt.
    pub(crate) fn conclude(&mut self, ended: Ended, mut account: Account<H>) -> Next {
        self.teller = Teller::Nobody;
        let trail = std::mem::take(&mut account.trail);
        match ended {
            Ended::Committed(took) => {
                self.call.named.teach(|patience| patience.learn(took));
                self.committed(Keyed::Ran(()), account, trail)
            }
            Ended::KeyTaken(taken) => self.key_taken(taken, account, trail),
            Ended::Nested(outer) => {
                // Refused like one that is known for it before it starts: there is nothing to count.
                self.teller = Teller::Done;
                Next::Return(Err(nested(&outer, &self.call).into()))
            }
            Ended::NotStarted(phase, failure) => {
                // Its session may go on for a while, and have the key.
                self.claimed_before |= failure.is_lost();
                let kind = match failure.condition() {
                    Condition::OpenTransaction => ErrorKind::OpenTransaction,
                    Condition::LockTimeout if self.awaits_key => self.key_in_progress(),
                    _ => ErrorKind::Failed,
                };
                self.failed(phase, failure, false, Otherwise::Ours(kind), trail)
            }
            Ended::NotCommitted(result, standing) => {
                self.due.push_back((account, false));
                let standing = idle::named(standing, &trail, self.idle_timeout());
                self.not_committed(result, standing, trail)
            }
            Ended::RolledBackToRerun => self.rolled_back_to_rerun(account, trail),
            Ended::DeadlinePassed(kind) => {
                self.due.push_back((account, false));
                self.refuse(kind, Some(GiveUp::Deadline), trail)
            }
            Ended::CommitFailed(failure, witness) => {
                let idle_timeout = self.idle_timeout();
                let failure = idle::named_failure(failure, Phase::Commit, &trail, idle_timeout);
                self.commit_failed(failure, witness, account, trail)
            }
        }
    }

    /// The next attempt whose hooks are to be run now, and whether it committed.
    pub(crate) fn take_due(&mut self) -> Option<(Account<H>, bool)> {
        self.due.pop_front()
    }

    /// The application's own settings, as a transaction with a key makes them, behind its claim: the role may not be allowed to
    /// write the key, and the search path may not lead to its table.
    pub(crate) fn sets_behind_claim(&self) -> Option<(&str, Vec<&str>)> {
        let local = self.call.settings.local_sql.as_ref()?;
        Some((&local.question, local.binds.iter().map(String::as_str).collect()))
    }

    pub(super) fn committed(
        &mut self,
        value: Keyed<()>,
        account: Account<H>,
        trail: Trail,
    ) -> Next {
        self.call.shared.budget.deposit();
        self.due.push_back((account, true));
        let elapsed = clock::since(self.started);
        self.count(Outcome::Committed, elapsed);
        let is_slow = elapsed >= self.call.settings.slow_after;
        if is_slow || !self.failures.is_empty() {
            let report = self.report(Outcome::Committed, None, trail);
            if is_slow && let Some(left_out) = self.call.named.slow.admits(None, clock::now()) {
                events::slow(&report, left_out);
            }
            self.hand_out(&report);
        }
        Next::Return(Ok(value))
    }

    fn not_committed(
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
            (Ok(_), Standing::SavepointOpen | Standing::InFlight(None) | Standing::Open(None)) => {
                self.refuse(ErrorKind::SavepointLeftOpen, None, trail)
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
        let cause = self.cause_of(&failure, phase);
        if cause == Cause::LockTimeout && failure.condition() == Condition::Canceled {
            self.course.believed_canceled();
        }
        self.note(phase, with_cure(failure, phase, &self.call.settings, &self.course), cause);
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

    pub(super) fn cause_of(&self, failure: &Failure, phase: Phase) -> Cause {
        let settings = &self.call.settings;
        let cause = match Cause::of(failure, phase) {
            Cause::CommitInDoubt => return Cause::CommitInDoubt,
            // The transaction itself is read only: another server wouldn't help.
            Cause::ReadOnlyServer if settings.is_read_only() => Cause::Other,
            Cause::StatementCanceled if self.course.is_lock_timeout(failure) => Cause::LockTimeout,
            Cause::LockTimeout if self.course.is_shorter_lock_timeout(failure) => {
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

    /// Whether the deadline has passed.
    pub(crate) fn has_expired(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }

    /// To the deadline.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(clock::now()))
    }
}
