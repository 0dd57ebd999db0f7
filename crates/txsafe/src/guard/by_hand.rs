//! A transaction that its caller begins and ends by hand. Nobody polls it, so what its caller does isn't seen; but its connection
//! knows how long it had nothing to do.

use super::{
    code::Code,
    kept::Kept,
    report::{Seen, Where},
    scope::Scope,
    session_log::SessionLog,
    session_state::keep_session_state,
    standstill::Live,
    within::{raise_all, raise_all_blocking},
};
use crate::{clock::excused::lock, error::trail::Trail};
use std::{
    collections::HashSet,
    panic::Location,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The shortest gap that is reported. How much of a shorter one the caller's task spent in the runtime's queue isn't known.
const SHORTEST: Duration = Duration::from_millis(50);

/// The scope of such a transaction, from its begin until it is committed or rolled back.
pub(crate) struct ByHand {
    scope: Arc<Scope>,
    /// The gaps that were reported, by the number of statements before them.
    reported: Mutex<HashSet<usize>>,
    _live: Option<Live>,
}

impl ByHand {
    pub(crate) fn new(scope: Arc<Scope>) -> Self {
        let live = Live::enter(&scope);
        Self { scope, reported: Mutex::default(), _live: live }
    }

    /// The caller uses the transaction at this place. Reports how long its connection had nothing to do before, each gap once.
    pub(crate) fn used(&self, at: &'static Location<'static>) {
        let Some(idle) = self.long_idle() else { return };
        // Where stacks are read, they lead to the caller through the driver's own `DerefMut`.
        let site = match Where::here(&self.scope.guard.policy) {
            Where::Unknown => Where::Known(at.into()),
            site => site,
        };
        self.report_before(idle, site.behind());
    }

    /// A library ends the transaction for its caller. Reports the gap before that as [`used`](Self::used) does, and without a
    /// line: the library's own didn't make the gap, and the stack leads to whatever polls the library.
    pub(crate) fn ended_by_library(&self) {
        if let Some(idle) = self.long_idle() {
            self.report_before(idle, Where::Unknown);
        }
    }

    /// Reports the gaps between these statements that nobody has seen: those inside of what the transaction was lent to.
    pub(crate) fn gaps(&self, trail: &Trail) {
        if !self.scope.guard.accounts() {
            return;
        }
        for (before, statement) in trail.numbered().filter(|(_, s)| self.is_long(s.gap)) {
            self.report(before, statement.gap, Where::Unknown, &statement.sql);
        }
    }

    /// How long the connection has had nothing to do, if that is long.
    fn long_idle(&self) -> Option<Duration> {
        let scope = &self.scope;
        scope.guard.accounts().then(|| scope.connection.idle())?.filter(|idle| self.is_long(*idle))
    }

    fn report_before(&self, idle: Duration, site: Where) {
        self.report(self.scope.connection.statements().0, idle, site, "");
    }

    fn is_long(&self, gap: Duration) -> bool {
        gap >= self.scope.guard.policy.external_wait.max(SHORTEST)
    }

    fn report(&self, before: usize, gap: Duration, site: Where, sql: &str) {
        if !lock(&self.reported).insert(before) {
            return;
        }
        let what = match sql {
            "" => format!("sent nothing to its database for {gap:.1?}"),
            sql => format!("sent nothing to its database for {gap:.1?} before `{sql}`"),
        };
        let subject = sql.to_owned();
        let seen = Seen { code: Code::ExternalWait, what, subject, site, waited: Some(gap) };
        self.scope.guard.report(&self.scope, seen);
    }

    /// The caller commits: its connection's session goes back to the pool as it is.
    pub(crate) fn keep_session_state(&self, session: &SessionLog) {
        keep_session_state(&self.scope, session);
        Kept::tell(&self.scope);
    }

    /// # Panics
    /// If something was found that fails the transaction.
    pub(crate) async fn raise(&self) {
        raise_all(&self.scope).await;
    }

    /// # Panics
    /// If something was found that fails the transaction.
    pub(crate) fn raise_blocking(&self) {
        raise_all_blocking(&self.scope);
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        self.scope.end();
    }
}
