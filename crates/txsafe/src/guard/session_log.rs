//! What an attempt has left on the session of its connection, as the connection notes it.

use crate::{
    clock::excused::lock,
    dialect::postgres::{
        changes::may_change,
        session_state::{Kind, Left, Mark, SessionState},
    },
};
use std::sync::{Arc, Mutex};

/// What one attempt leaves on its session, shared by whoever sees its statements. By default nothing is noted: that is so on
/// a connection that the caller holds, whose session is the caller's.
#[derive(Debug, Clone, Default)]
pub struct SessionLog(Option<Arc<Log>>);

#[derive(Debug, Default)]
struct Log {
    state: Mutex<SessionState>,
    /// Whatever is left, the connection is closed.
    closes: bool,
}

impl SessionLog {
    /// Of an attempt that begins. With `closes`, its connection doesn't go back to its pool with anything left on it.
    pub(crate) fn new(closes: bool) -> Self {
        Self(Some(Arc::new(Log { state: Mutex::default(), closes })))
    }

    /// For adapters: a statement ran, or failed, or was sent and its end isn't known.
    pub fn ran(&self, sql: &str, is_ok: bool) {
        if let Some(log) = self.0.as_ref().filter(|_| may_change(sql)) {
            lock(&log.state).ran(sql, is_ok);
        }
    }

    /// Whether a statement is worth to be read.
    pub(crate) fn may_change(&self, sql: &str) -> bool {
        self.0.is_some() && may_change(sql)
    }

    /// Whether the connection may go back to its pool when the attempt has ended by COMMIT, or by ROLLBACK. What even
    /// ROLLBACK leaves behind would meet the next attempt.
    pub(crate) fn may_give_back(&self, is_committed: bool) -> bool {
        self.0.as_ref().is_none_or(|log| {
            (is_committed && !log.closes) || lock(&log.state).left(is_committed).next().is_none()
        })
    }

    /// Whether the session may hold advisory locks.
    pub(crate) fn is_locked(&self) -> bool {
        let is_lock = |left: &Left| left.kind == Kind::AdvisoryLock;
        self.0.as_ref().is_some_and(|log| lock(&log.state).left(false).any(is_lock))
    }

    /// What the next transaction on the connection will find there if this one commits now, as far as that is certain:
    /// nothing where the connection will be closed.
    pub(crate) fn leaks(&self) -> Vec<Left> {
        let Some(log) = self.0.as_ref().filter(|log| !log.closes) else { return Vec::new() };
        lock(&log.state).left(true).filter(|left| left.is_certain).cloned().collect()
    }

    /// Where it stands now.
    pub(crate) fn mark(&self) -> Mark {
        self.0.as_ref().map(|log| lock(&log.state).mark()).unwrap_or_default()
    }

    /// A savepoint was rolled back that was set at `mark`.
    pub(crate) fn rolled_back_to(&self, mark: Mark) {
        if let Some(log) = &self.0 {
            lock(&log.state).rolled_back_to(mark);
        }
    }
}
