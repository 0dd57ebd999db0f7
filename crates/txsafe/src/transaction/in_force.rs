//! The limits in force for one attempt, and which of them has struck.

use super::{course::Plan, settings::Settings};
use crate::dialect::{
    condition::Condition,
    failure::Failure,
    limits::{Limit, Limits},
    postgres::locks::may_lock,
};
use std::time::Duration;

/// The limits that hold for one attempt: ours, or the session's where those are shorter. Before the first, none is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct InForce {
    pub(crate) lock: Limit,
    /// What is to be set at COMMIT.
    pub(crate) lock_at_commit: Option<Duration>,
    pub(crate) statement: Limit,
    pub(crate) idle: Limit,
    pub(crate) transaction: Limit,
}

impl InForce {
    /// Those of an attempt, on a session that has these of its own: of each pair the smaller one. If the session's aren't known, ours
    /// hold.
    pub(super) fn of(plan: Plan, settings: &Settings, sessions: Option<Limits>) -> Self {
        let sessions_lock = sessions.map(|limits| limits.lock_timeout);
        let lock = Limit::smaller(plan.lock_timeout, sessions_lock);
        let at_commit = Limit::smaller(settings.lock_timeout, sessions_lock).duration();
        Self {
            lock,
            // What the attempt has set is in the way of the session's own.
            lock_at_commit: lock.to_set().and(at_commit),
            statement: Limit::smaller(
                plan.statement_timeout,
                sessions.map(|limits| limits.statement_timeout),
            ),
            idle: Limit::smaller(
                settings.idle_in_transaction_session_timeout,
                sessions.map(|limits| limits.idle_in_transaction_session_timeout),
            ),
            transaction: Limit::smaller(
                settings.transaction_timeout,
                sessions.map(|limits| limits.transaction_timeout),
            ),
        }
    }

    /// Whether a statement that was canceled on request was, most likely, canceled by its own lock timeout.
    ///
    /// PostgreSQL's timer interrupts its own session as `pg_cancel_backend` does, beside a note that it was the timer.
    /// If the lock comes free in that very moment, the session's next wait tears the note up before it is read, and
    /// the server reports a cancellation on request (`57014`): once in some 100,000 transactions that fight over rows.
    /// What tells it apart: the statement may lock rows, and ran for a few waits, of which the last was one timeout long.
    pub(crate) fn is_lock_timeout(&self, failure: &Failure) -> bool {
        const WAITS: u32 = 4;
        let (Some(ran), Some(sql)) = (failure.took(), failure.statement()) else { return false };
        let Some(lock_timeout) = self.lock.duration() else { return false };
        failure.condition() == Condition::Canceled
            && may_lock(sql)
            && ran >= lock_timeout
            && ran <= lock_timeout.saturating_mul(WAITS)
            && self.statement.duration().is_none_or(|timeout| ran < timeout)
    }

    /// Whether a lock was waited for less long than this attempt would have: the caller has set a shorter timeout of its own
    /// inside, and means it. One of the session's own is a bound like ours, and where that isn't known nothing tells them apart.
    pub(crate) fn is_shorter_lock_timeout(&self, failure: &Failure) -> bool {
        match self.lock {
            Limit::Ours(timeout) | Limit::Sessions(timeout) => {
                failure.took().is_some_and(|ran| ran < timeout)
            }
            Limit::Never => true,
            Limit::Unknown => false,
        }
    }
}
