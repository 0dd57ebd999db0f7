//! One transaction on its way through its attempts: what both run loops decide alike.

use super::{
    call::Call,
    course::{Course, Plan},
    doubt::InDoubt,
    ending::{Ended, Next},
    failed::Otherwise,
    idle,
    keyed::Keyed,
    nested::{nested, outer_of},
    rerun::Rerun,
    settings::Settings,
};
use crate::{
    clock,
    dialect::{
        Dialect,
        begin::{Begin, BeginSettings},
        condition::Condition,
        limits::{Limit, Limits},
        mark::Mark,
    },
    driver::account::Account,
    error::{Error, ErrorKind, outcome::Outcome, report::Attempt, trail::Trail},
    guard::{
        by_hand::ByHand,
        connection::Connection,
        scope::{self, Scope, Subject},
        second::Inside,
    },
    retry::{policy::GiveUp, remedy::Phase},
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
    /// A session of this call may hold its key: it claimed it, or was lost while it did, and no ROLLBACK of it was answered.
    pub(super) may_hold_key: bool,
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
            may_hold_key: false,
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
            idle_timeout: self.idle_limit().duration(),
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

    /// How long the attempt may send nothing.
    pub(crate) fn idle_limit(&self) -> Limit {
        self.course.limits().idle
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
                self.may_hold_key |= failure.is_lost() && phase != Phase::Checkout;
                let kind = match failure.condition() {
                    Condition::OpenTransaction => ErrorKind::OpenTransaction,
                    // Whichever limit was shorter: it waited for the key alone.
                    Condition::LockTimeout | Condition::StatementTimeout if self.awaits_key => {
                        self.key_in_progress()
                    }
                    _ => ErrorKind::Failed,
                };
                self.failed(phase, failure, false, Otherwise::Ours(kind), trail)
            }
            Ended::NotCommitted(result, standing) => {
                self.due.push_back((account, false));
                let standing = idle::named(standing, &trail, self.idle_limit());
                self.not_committed(result, standing, trail)
            }
            Ended::RolledBackToRerun => self.rolled_back_to_rerun(account, trail),
            Ended::DeadlinePassed(kind) => {
                self.due.push_back((account, false));
                self.refuse(kind, Some(GiveUp::Deadline), trail)
            }
            Ended::CommitFailed(failure, witness) => {
                let limit = self.idle_limit();
                let failure = idle::named_failure(failure, Phase::Commit, &trail, limit);
                self.commit_failed(failure, witness, account, trail)
            }
        }
    }

    /// The next attempt whose hooks are to be run now, and whether it committed.
    pub(crate) fn take_due(&mut self) -> Option<(Account<H>, bool)> {
        self.due.pop_front()
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

    /// Whether the deadline has passed.
    pub(crate) fn has_expired(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }

    /// To the deadline.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(clock::now()))
    }
}
