//! The course of one transaction over its attempts: what the next one may use, and whether there is one.
//!
//! Like the layer below it this is pure: the run loops tell it the time and the dice.

use super::{
    in_force::InForce,
    settings::{LOCK_TIMEOUT, Settings},
};
use crate::{
    dialect::{failure::Failure, limits::Limits},
    retry::{
        budget::Budget,
        patience::Patience,
        policy::GiveUp,
        remedy::{Cause, Remedy},
    },
};
use std::time::Duration;

/// So often a transaction is tried again on a standby whose replication was in its way.
const MOST_CONFLICTS: u32 = 2;

/// So often a transaction is tried again in which something failed unseen: a deadlock rarely comes back so often, and what fails
/// always costs no more than three runs.
const MOST_UNSEEN: u32 = 2;

/// What one attempt may take, and how it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// Both are `None` where they are left to the session.
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) statement_timeout: Option<Duration>,
    /// Whether the answer to BEGIN is waited for.
    pub(crate) await_begin: bool,
    /// It is the attempt before, run again.
    pub(crate) is_rerun: bool,
}

impl Plan {
    /// The same, and the answer to BEGIN is waited for.
    pub(crate) fn awaiting_begin(self) -> Self {
        Self { await_begin: true, ..self }
    }
}

/// What a decision is told of the moment it is made at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Since the call.
    pub(crate) elapsed: Duration,
    /// To the caller's deadline.
    pub(crate) remaining: Option<Duration>,
    /// Drawn evenly from 0 to 1.
    pub(crate) dice: f64,
}

/// What the decisions of one transaction depend on.
pub(crate) struct Course {
    attempts: u32,
    /// What begins next is the attempt before, and isn't counted.
    reruns: bool,
    /// How often another connection was tried because of what the one before remembered, or was.
    stale: u32,
    /// A cancellation was taken for a lock timeout.
    was_canceled: bool,
    /// How often replication was in the way.
    conflicts: u32,
    /// How often something failed unseen.
    unseen: u32,
    limits: InForce,
    pauses: Option<Box<dyn Iterator<Item = Duration> + Send>>,
    /// Nothing of the closure may run a second time.
    pub(crate) once: bool,
    /// An outer transaction retries; this one must not.
    pub(crate) nested: bool,
}

impl Course {
    pub(crate) fn new(once: bool) -> Self {
        Self {
            attempts: 0,
            reruns: false,
            stale: 0,
            was_canceled: false,
            conflicts: 0,
            unseen: 0,
            limits: InForce::default(),
            pauses: None,
            once,
            nested: false,
        }
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The attempt that ran last is run again.
    pub(crate) fn rerun(&mut self) {
        self.reruns = true;
    }

    /// The limits of the attempt that runs or ran last.
    pub(crate) fn limits(&self) -> &InForce {
        &self.limits
    }

    /// Learns which limits the attempt's session has of its own.
    pub(crate) fn meet(
        &mut self,
        plan: Plan,
        settings: &Settings,
        sessions: Option<Limits>,
    ) -> InForce {
        self.limits = InForce::of(plan, settings, sessions);
        self.limits
    }

    /// Whether a statement that was canceled on request was, most likely, canceled by its own lock timeout. An operator may mean
    /// such a statement, too; so it is believed once in a transaction.
    pub(crate) fn is_lock_timeout(&self, failure: &Failure) -> bool {
        !self.was_canceled && self.limits.is_lock_timeout(failure)
    }

    /// Starts an attempt; `remaining` is the time to the caller's deadline.
    pub(crate) fn next(
        &mut self,
        settings: &Settings,
        patience: Patience,
        remaining: Option<Duration>,
    ) -> Result<Plan, GiveUp> {
        if remaining.is_some_and(|remaining| remaining < Duration::from_millis(1)) {
            return Err(GiveUp::Deadline);
        }
        let is_rerun = std::mem::take(&mut self.reruns);
        self.attempts += u32::from(!is_rerun);
        let is_last = self.once || self.nested;
        let left =
            if is_last { 0 } else { settings.retry.max_attempts.saturating_sub(self.attempts) };
        let within =
            |timeout: Duration| whole_ms(remaining.map_or(timeout, |left| left.min(timeout)));
        let plan = Plan {
            lock_timeout: settings.lock_timeout.map(|configured| {
                let adapts = settings.adaptive_lock_timeout;
                within(if adapts { patience.lock_timeout(left, configured) } else { configured })
            }),
            statement_timeout: settings.statement_timeout.map(within),
            await_begin: settings.await_begin || patience.is_queueing(),
            is_rerun,
        };
        // Until the session's own are known.
        self.meet(plan, settings, None);
        Ok(plan)
    }

    /// A cancellation was taken for a lock timeout.
    pub(crate) fn believed_canceled(&mut self) {
        self.was_canceled = true;
    }

    /// The pause before the next attempt after a failure that asks for one, or why there is none.
    pub(crate) fn after(
        &mut self,
        cause: Cause,
        closure_ran: bool,
        settings: &Settings,
        budget: &Budget,
        now: Moment,
    ) -> Result<Duration, GiveUp> {
        debug_assert_ne!(cause.remedy(), Remedy::Abort, "an abort asks for no attempt");
        if self.once && closure_ran {
            return Err(GiveUp::Once);
        }
        if self.nested {
            return Err(GiveUp::Nested);
        }
        if matches!(cause, Cause::StalePlan | Cause::StaleSession | Cause::ReadOnlyServer) {
            self.stale += 1;
            if self.stale > 1 {
                return Err(GiveUp::Again);
            }
        }
        if cause == Cause::RecoveryConflict {
            self.conflicts += 1;
            if self.conflicts > MOST_CONFLICTS {
                return Err(GiveUp::Again);
            }
        }
        if cause == Cause::FailedUnseen {
            self.unseen += 1;
            if self.unseen > MOST_UNSEEN {
                return Err(GiveUp::Unseen);
            }
        }
        let pauses = self.pauses.get_or_insert_with(|| settings.retry.pauses_of_one_transaction());
        let pause =
            settings.retry.after(cause, self.attempts, now.elapsed, pauses.next(), now.dice)?;
        if now.remaining.is_some_and(|remaining| pause >= remaining) {
            return Err(GiveUp::Deadline);
        }
        // The budget comes last: a retry that another bound forbids is not paid.
        let waited = match cause {
            Cause::LockTimeout => self.limits.lock.duration().unwrap_or(LOCK_TIMEOUT),
            _ => Duration::ZERO,
        };
        if budget.withdraw(cause, waited) { Ok(pause) } else { Err(GiveUp::Budget) }
    }
}

/// The server counts in whole milliseconds, and takes 0 for no limit.
fn whole_ms(timeout: Duration) -> Duration {
    let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(ms.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{limits::Limit, postgres::Postgres};
    use crate::{RetryPolicy, Timeout, TxOptions};

    const MS: Duration = Duration::from_millis(1);

    struct Desk {
        course: Course,
        settings: Settings,
        budget: Budget,
    }

    impl Desk {
        fn new(options: TxOptions) -> Self {
            let settings = Settings::resolve(&Postgres, &TxOptions::new(), &options).unwrap();
            Self { course: Course::new(false), settings, budget: Budget::default() }
        }

        fn next(&mut self, remaining: Option<Duration>) -> Result<Plan, GiveUp> {
            self.course.next(&self.settings, Patience::default(), remaining)
        }

        fn after(&mut self, cause: Cause, remaining: Option<Duration>) -> Result<Duration, GiveUp> {
            let Self { course, settings, budget } = self;
            let now = Moment { elapsed: MS, remaining, dice: 0.5 };
            course.after(cause, true, settings, budget, now)
        }
    }

    #[test]
    fn patience_grows_and_the_last_attempt_waits_as_configured() {
        let mut desk = Desk::new(TxOptions::new().retry(RetryPolicy::new().max_attempts(4)));
        let mut timeouts = Vec::new();
        for _ in 0..4 {
            timeouts.push(desk.next(None).unwrap().lock_timeout.unwrap());
            let _ = desk.after(Cause::LockTimeout, None);
        }
        assert!(timeouts.is_sorted() && timeouts[0] < timeouts[2]);
        assert_eq!(Some(timeouts[3]), desk.settings.lock_timeout);
    }

    #[test]
    fn begin_is_awaited_in_a_queue_or_on_demand() {
        let awaits = |options, patience| {
            let mut desk = Desk::new(options);
            desk.course.next(&desk.settings, patience, None).unwrap().await_begin
        };
        let queue = [1, 90, 90, 90, 90, 90, 90, 90, 90, 90, 90].into_iter();
        let queue = queue.fold(Patience::default(), |patience, n| patience.learn(n * MS));
        assert!(!awaits(TxOptions::new(), Patience::default()));
        assert!(awaits(TxOptions::new(), queue));
        assert!(awaits(TxOptions::new().await_begin(true), Patience::default()));
    }

    #[test]
    fn limits_end_at_the_deadline() {
        let mut desk = Desk::new(TxOptions::new().adaptive_lock_timeout(false));
        let plan = desk.next(Some(300 * MS)).unwrap();
        assert_eq!((plan.lock_timeout, plan.statement_timeout), (Some(300 * MS), Some(300 * MS)));
        assert_eq!(desk.after(Cause::Deadlock, Some(MS)), Err(GiveUp::Deadline));
        assert_eq!(desk.next(Some(Duration::ZERO)), Err(GiveUp::Deadline));
    }

    #[test]
    fn a_cancellation_of_a_statement_that_waited_as_long_as_it_may_is_a_lock_timeout() {
        let mut desk = Desk::new(TxOptions::new());
        let timeout = desk.next(None).unwrap().lock_timeout.unwrap();
        let canceled = |sql: &str, took| {
            let message = "canceling statement due to user request";
            Failure::of_message(message).with_statement(Some(sql.into())).with_took(Some(took))
        };
        let update = |took| canceled("UPDATE accounts SET n = 1", took);
        assert!(!desk.course.is_lock_timeout(&update(timeout - MS)));
        assert!(desk.course.is_lock_timeout(&update(timeout)));
        assert!(desk.course.is_lock_timeout(&update(3 * timeout)));
        assert!(!desk.course.is_lock_timeout(&update(5 * timeout)));
        assert!(!desk.course.is_lock_timeout(&canceled("SELECT heavy()", timeout)));
        let message = "canceling statement due to statement timeout";
        let timed_out = Failure::of_message(message).with_statement(Some("UPDATE a".into()));
        assert!(!desk.course.is_lock_timeout(&timed_out.with_took(Some(timeout))));
        desk.next(Some(timeout + Duration::from_micros(999))).unwrap();
        assert_eq!(desk.course.limits().lock, Limit::Ours(timeout), "as the server is told");
        let statement_timeout = desk.next(Some(timeout)).unwrap().statement_timeout;
        assert!(!desk.course.is_lock_timeout(&update(statement_timeout.unwrap())));
        desk.next(None).unwrap();
        let again = update(desk.course.limits().lock.duration().unwrap());
        assert!(desk.course.is_lock_timeout(&again));
        desk.course.believed_canceled();
        assert!(!desk.course.is_lock_timeout(&again), "an operator means it");
    }

    #[test]
    fn a_timeout_of_the_callers_own_is_meant() {
        let mut desk = Desk::new(TxOptions::new());
        let timeout = desk.next(None).unwrap().lock_timeout.unwrap();
        let after =
            |took| Failure::of_message("canceling statement due to lock timeout").with_took(took);
        assert!(desk.course.limits().is_shorter_lock_timeout(&after(Some(timeout - MS))));
        assert!(!desk.course.limits().is_shorter_lock_timeout(&after(Some(timeout))));
        assert!(!desk.course.limits().is_shorter_lock_timeout(&after(None)));
    }

    #[test]
    fn the_sessions_limits_are_not_raised() {
        let mut desk = Desk::new(TxOptions::new());
        let plan = desk.next(None).unwrap();
        let meets = |desk: &mut Desk, lock_timeout: Option<u32>| {
            let lock_timeout = lock_timeout.map(|ms| ms * MS);
            let limits = Limits { lock_timeout, statement_timeout: Some(MS), ..Limits::default() };
            desk.course.meet(plan, &desk.settings, Some(limits))
        };
        let ours = plan.lock_timeout.unwrap();
        let none = meets(&mut desk, None);
        assert_eq!((none.lock, none.lock_at_commit), (Limit::Ours(ours), Some(2_000 * MS)));
        assert_eq!((none.statement, none.statement.to_set()), (Limit::Sessions(MS), None));
        let later = meets(&mut desk, Some(500));
        assert_eq!((later.lock, later.lock_at_commit), (Limit::Ours(ours), Some(500 * MS)));
        let first = meets(&mut desk, Some(1));
        assert_eq!((first.lock, first.lock_at_commit), (Limit::Sessions(MS), None));
    }

    #[test]
    fn whose_lock_timeout_it_was_is_known_by_the_time() {
        let after = |took| {
            Failure::of_message("canceling statement due to lock timeout").with_took(Some(took))
        };
        let mut desk = Desk::new(TxOptions::new().lock_timeout(Timeout::Server));
        let plan = desk.next(None).unwrap();
        let mut is_callers = |sessions: Option<Limits>, took| {
            desk.course.meet(plan, &desk.settings, sessions);
            desk.course.limits().is_shorter_lock_timeout(&after(took))
        };
        let limits = |lock_timeout| Some(Limits { lock_timeout, ..Limits::default() });
        assert!(!is_callers(limits(Some(20 * MS)), 20 * MS), "the session's own is a bound");
        assert!(is_callers(limits(Some(20 * MS)), 19 * MS), "set inside, and meant");
        assert!(is_callers(limits(None), 20 * MS), "the session has none");
        assert!(!is_callers(None, MS), "nothing tells");
    }

    #[test]
    fn replication_is_waited_out_twice_and_a_server_that_only_reads_is_left_once() {
        let options = || TxOptions::new().retry(RetryPolicy::new().max_attempts(20));
        let mut desk = Desk::new(options());
        desk.next(None).unwrap();
        assert!(desk.after(Cause::RecoveryConflict, None).is_ok());
        assert!(desk.after(Cause::RecoveryConflict, None).is_ok());
        assert_eq!(desk.after(Cause::RecoveryConflict, None), Err(GiveUp::Again));
        let mut desk = Desk::new(options());
        desk.next(None).unwrap();
        assert!(desk.after(Cause::ReadOnlyServer, None).is_ok());
        assert_eq!(desk.after(Cause::ReadOnlyServer, None), Err(GiveUp::Again));
    }

    #[test]
    fn what_fails_unseen_is_tried_three_times() {
        let mut desk = Desk::new(TxOptions::new());
        desk.next(None).unwrap();
        assert!(desk.after(Cause::FailedUnseen, None).is_ok());
        assert!(desk.after(Cause::FailedUnseen, None).is_ok());
        assert_eq!(desk.after(Cause::FailedUnseen, None), Err(GiveUp::Unseen));
    }

    #[test]
    fn short_waits_are_cheap_and_an_empty_budget_ends_it() {
        let mut desk = Desk::new(TxOptions::new());
        desk.budget = Budget::new(6);
        desk.next(None).unwrap();
        assert!(desk.after(Cause::LockTimeout, None).is_ok());
        assert_eq!(desk.budget.tokens(), 5);
        assert!(desk.after(Cause::Deadlock, None).is_ok());
        assert_eq!(desk.after(Cause::LockTimeout, None), Err(GiveUp::Budget));
    }

    #[test]
    fn an_attempt_that_is_run_again_is_counted_once() {
        let mut desk = Desk::new(TxOptions::new().retry(RetryPolicy::new().max_attempts(2)));
        let first = desk.next(None).unwrap();
        desk.course.rerun();
        let again = desk.next(None).unwrap();
        assert_eq!(again, Plan { is_rerun: true, ..first });
        assert_eq!(desk.course.attempts(), 1);
        assert!(desk.after(Cause::Deadlock, None).is_ok());
        assert!(!desk.next(None).unwrap().is_rerun);
        assert_eq!(desk.course.attempts(), 2);
    }

    #[test]
    fn a_stale_plan_is_worth_one_new_connection() {
        let mut desk = Desk::new(TxOptions::new());
        desk.next(None).unwrap();
        assert!(desk.after(Cause::StalePlan, None).is_ok());
        assert_eq!(desk.after(Cause::StaleSession, None), Err(GiveUp::Again));
    }
}
