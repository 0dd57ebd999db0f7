//! The transactions of this process whose closures run now.

use super::idle;
use crate::{
    clock::excused::lock,
    guard::{code::Code, scope::Scope},
};
use std::sync::{Arc, Mutex};

static LIVE: Mutex<Vec<Arc<Scope>>> = Mutex::new(Vec::new());

/// A transaction whose closure runs, until this is dropped.
#[must_use]
pub(in crate::guard) struct Live(Arc<Scope>);

impl Live {
    /// What a test is wrapped in shares its connection with what runs inside.
    pub(in crate::guard) fn enter(scope: &Arc<Scope>) -> Option<Self> {
        let may_idle = scope.guard.sees(Code::IdleTransaction);
        if scope.wraps_a_test || !(may_idle || scope.guard.accounts()) {
            return None;
        }
        lock(&LIVE).push(Arc::clone(scope));
        if let Some(timeout) = scope.idle_timeout.filter(|_| may_idle) {
            idle::look_out(timeout);
        }
        #[cfg(feature = "origins")]
        if scope.guard.policy.origins {
            crate::guard::origin::look_out();
        }
        Some(Self(Arc::clone(scope)))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut live = lock(&LIVE);
        if let Some(at) = live.iter().position(|scope| Arc::ptr_eq(scope, &self.0)) {
            live.swap_remove(at);
        }
    }
}

/// Whether there is any.
#[cfg(feature = "origins")]
pub(in crate::guard) fn is_any() -> bool {
    lock(&LIVE).iter().any(|scope| scope.guard.accounts())
}

/// Those whose waits are accounted: where they aren't, nobody knows of a standstill.
pub(super) fn accounted() -> Vec<Arc<Scope>> {
    of(|scope| scope.guard.accounts())
}

/// Those that are told when they idle.
pub(super) fn idling() -> Vec<Arc<Scope>> {
    of(|scope| scope.idle_timeout.is_some() && scope.guard.sees(Code::IdleTransaction))
}

fn of(is_meant: impl Fn(&Scope) -> bool) -> Vec<Arc<Scope>> {
    lock(&LIVE).iter().filter(|scope| is_meant(scope)).map(Arc::clone).collect()
}

/// Those that hold a connection of this database's pool.
pub(super) fn holders(database: u64, live: &[Arc<Scope>]) -> impl Iterator<Item = &Arc<Scope>> {
    live.iter().filter(move |scope| scope.database == database && scope.pool.is_some())
}
