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
use std::{
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// The shortest gap that is reported. How much of a shorter one the caller's task spent in the runtime's queue isn't known.
const SHORTEST: Duration = Duration::from_millis(50);

/// The scope of such a transaction, from its begin until it is committed or rolled back.
pub(crate) struct ByHand {
    scope: Arc<Scope>,
    /// Behind so many statements, a gap was reported; the number is one higher, and 0 says that none was.
    reported: AtomicUsize,
    _live: Option<Live>,
}

impl ByHand {
    pub(crate) fn new(scope: Arc<Scope>) -> Self {
        let live = Live::enter(&scope);
        Self { scope, reported: AtomicUsize::new(0), _live: live }
    }

    /// The caller uses the transaction at this place. Reports how long its connection had nothing to do before, each gap once.
    pub(crate) fn used(&self, at: &'static Location<'static>) {
        let guard = &self.scope.guard;
        if !guard.accounts() {
            return;
        }
        let shortest = guard.policy.external_wait.max(SHORTEST);
        let Some(idle) = self.scope.connection.idle().filter(|idle| *idle >= shortest) else {
            return;
        };
        let behind = self.scope.connection.statements().0 + 1;
        if self.reported.swap(behind, Relaxed) == behind {
            return;
        }
        let seen = Seen {
            code: Code::ExternalWait,
            what: format!("sent nothing to its database for {idle:.1?}"),
            subject: String::new(),
            site: Where::Known(at.into()).behind(),
            waited: Some(idle),
        };
        guard.report(&self.scope, seen);
    }

    /// The caller commits: its connection's session goes back to the pool as it is.
    pub(crate) fn keep_session_state(&self, session: &SessionLog) {
        keep_session_state(&self.scope, session);
        Kept::tell(&self.scope);
    }

    /// # Panics
    /// If something was found that fails the transaction.
    pub(crate) async fn raise(self) {
        raise_all(&self.scope).await;
    }

    /// # Panics
    /// If something was found that fails the transaction.
    pub(crate) fn raise_blocking(self) {
        raise_all_blocking(&self.scope);
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        self.scope.end();
    }
}
