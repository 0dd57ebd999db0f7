//! Which database it is, whatever pool and driver lead to it.
//!
//! A transaction inside another one on the same database is refused, and a process may reach one database through
//! several drivers. URLs don't tell: a pool doesn't give its own away, and a host has many names. The server does. It is
//! asked only in a process that has more than one [`Shared`](super::shared::Shared), once for each, before a BEGIN.

use std::sync::atomic::{AtomicUsize, Ordering};

static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// Counts the databases that this process knows, for as long as it knows them.
#[derive(Debug)]
pub(crate) struct Counted(());

impl Counted {
    pub(crate) fn new() -> Self {
        DATABASES.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    /// Whether there are others.
    pub(crate) fn is_one_of_many(&self) -> bool {
        DATABASES.load(Ordering::Relaxed) > 1
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        DATABASES.fetch_sub(1, Ordering::Relaxed);
    }
}
