//! Rerun mode, for tests: the first good attempt of a transaction that could be retried is rolled back and run again, and what
//! both did is compared.

use super::{call::Call, course::Course, ending::Next, progress::Progress};
use crate::{
    clock,
    dialect::failure::Failure,
    driver::{
        account::Account,
        session::{CallersError, Standing},
    },
    error::{difference::Difference, trail::Trail},
    guard::{rerun::rerun_differs, scope::Scope},
    retry::remedy::{Cause, Phase, Remedy},
    telemetry::events,
};
use std::{sync::Arc, time::Duration};

/// What rerun mode does with a transaction.
pub(crate) struct Rerun {
    state: State,
    /// An attempt was rolled back for it.
    pub(super) has_run: bool,
}

enum State {
    /// Nothing, or nothing more.
    Idle,
    /// The first attempt that would be committed is to be run again.
    Planned,
    /// The next attempt that isn't tried again by itself is compared with this.
    Comparing {
        first: Trail,
        /// Where it runs.
        scope: Option<Arc<Scope>>,
    },
}

impl Rerun {
    /// That of a transaction that starts.
    pub(super) fn of(call: &Call, course: &Course) -> Self {
        let settings = &call.settings;
        let is_retried = settings.retry.max_attempts > 1 && !course.once && !course.nested;
        let is_the_callers = !call.on_held && !call.is_own && !settings.test_wrapper;
        let is_planned = call.shared.guard.reruns() && is_retried && is_the_callers;
        Self { state: if is_planned { State::Planned } else { State::Idle }, has_run: false }
    }

    /// An attempt runs in this scope.
    pub(super) fn runs_in(&mut self, attempt: &Arc<Scope>) {
        if let State::Comparing { scope, .. } = &mut self.state {
            *scope = Some(Arc::clone(attempt));
        }
    }
}

/// How a run has ended whose statements are compared.
enum Second {
    Commits,
    IsRollbackOnly,
    Fails(Option<Failure>),
}

impl<H> Progress<H> {
    /// Whether an attempt that would be committed now is rolled back, and run again.
    pub(super) fn is_to_rerun(&self) -> bool {
        if !matches!(self.rerun.state, State::Planned) || self.course.once {
            return false;
        }
        // Its closure has been run again already.
        let ran = |phase| matches!(phase, Phase::Body | Phase::Commit);
        if self.failures.iter().any(|attempt| ran(attempt.phase)) {
            return false;
        }
        let is_in_time = self.has_time_to_rerun();
        if !is_in_time {
            events::not_run_again(&self.call.named.name);
        }
        is_in_time
    }

    /// Whether the deadline leaves time enough: a good deal more than the first run took.
    fn has_time_to_rerun(&self) -> bool {
        const AT_LEAST: Duration = Duration::from_millis(100);
        let needed = clock::since(self.started).saturating_mul(4).max(AT_LEAST);
        self.remaining().is_none_or(|left| left >= needed)
    }

    /// The attempt was rolled back, and what follows starts anew.
    pub(super) fn rolled_back_to_rerun(&mut self, account: Account<H>, first: Trail) -> Next {
        self.due.push_back((account, false));
        events::running_again(&self.call.named.name);
        self.rerun = Rerun { state: State::Comparing { first, scope: None }, has_run: true };
        self.course.rerun();
        self.started = clock::now();
        Next::Rerun
    }

    /// Compares a second run with the first, and reports where they differ; returns the scope in which that is raised. `is_marked`
    /// says of one that returned `Ok` that it is to be rolled back.
    pub(super) fn compare(
        &mut self,
        trail: &Trail,
        result: Result<(), CallersError>,
        is_marked: bool,
        standing: &Standing,
    ) -> Option<Arc<Scope>> {
        let State::Comparing { first, scope: Some(scope) } = &self.rerun.state else {
            return None;
        };
        // By hand, it was dropped or rolled back, and nothing is run again.
        if self.course.once {
            return None;
        }
        let second = match standing {
            Standing::Open(_) if is_marked => Second::IsRollbackOnly,
            standing => self.second(result, standing, trail)?,
        };
        let difference = Difference::between(first, trail);
        let what = told(difference.as_ref(), &second);
        let scope = Arc::clone(scope);
        self.rerun.state = State::Idle;
        rerun_differs(&scope, what?);
        Some(scope)
    }

    /// How a second run has ended; `None` where that says nothing of its closure, because others were in its way.
    fn second(
        &self,
        result: Result<(), CallersError>,
        standing: &Standing,
        trail: &Trail,
    ) -> Option<Second> {
        let (failure, is_handled) = match standing {
            Standing::Open(_) if result.is_ok() => return Some(Second::Commits),
            Standing::Open(None) => return Some(Second::Fails(None)),
            Standing::Open(Some(failure)) => (failure, true),
            Standing::Aborted(failure) => (failure, false),
            Standing::NotBegun(_)
            | Standing::Unprotected(_)
            | Standing::SavepointOpen
            | Standing::InFlight(_)
            | Standing::Lost(_)
            | Standing::OutOfStep(_)
            | Standing::Unidentified(_)
            | Standing::Ended => return None,
        };
        let cause = self.cause_of(failure, Phase::Body, trail);
        let is_others = cause.remedy() != Remedy::Abort
            || matches!(
                cause,
                Cause::StatementCanceled | Cause::TransactionTimeout | Cause::LockNotAvailable
            );
        (!is_others).then(|| Second::Fails((!is_handled).then(|| failure.clone())))
    }
}

/// What is told of a second run; nothing, if it did what the first one did.
fn told(difference: Option<&Difference>, second: &Second) -> Option<String> {
    let ended = match second {
        Second::Commits => None,
        Second::IsRollbackOnly => {
            Some("the first run of its closure was to be committed, and the second called `set_rollback_only`".to_owned())
        }
        Second::Fails(None) => {
            Some("the first run of its closure returned Ok, and the second returned an error".to_owned())
        }
        Second::Fails(Some(failure)) => {
            Some(format!("the first run of its closure returned Ok, and the second failed: {failure}"))
        }
    };
    match (ended, difference) {
        (None, None) => None,
        (None, Some(difference)) => Some(format!("its closure was run again, and {difference}")),
        (Some(ended), None) => Some(ended),
        (Some(ended), Some(difference)) => Some(format!("{ended}; {difference}")),
    }
}
