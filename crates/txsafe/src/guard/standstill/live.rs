//! The transactions of this process whose closures run now.

use crate::{guard::scope::Scope, hold::excused::lock};
use std::sync::{Arc, Mutex};

static LIVE: Mutex<Vec<Arc<Scope>>> = Mutex::new(Vec::new());

/// A transaction whose closure runs, until this is dropped.
#[must_use]
pub(in crate::guard) struct Live(Arc<Scope>);

impl Live {
    /// Where nothing is accounted, nobody looks. What a test is wrapped in shares its connection with what runs inside.
    pub(in crate::guard) fn enter(scope: &Arc<Scope>) -> Option<Self> {
        if !scope.guard.accounts() || scope.wraps_a_test {
            return None;
        }
        lock(&LIVE).push(Arc::clone(scope));
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
    !lock(&LIVE).is_empty()
}

/// Those of now.
pub(super) fn all() -> Vec<Arc<Scope>> {
    lock(&LIVE).clone()
}

/// Those that hold a connection of this database's pool.
pub(super) fn holders(database: u64, live: &[Arc<Scope>]) -> impl Iterator<Item = &Arc<Scope>> {
    live.iter().filter(move |scope| scope.database == database && scope.pool.is_some())
}
