//! Time of a thread for which nobody is to be blamed again: it was allowed, it has been told of, or it was our own.

use super::times::now;
use std::{
    cell::Cell,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

thread_local! {
    static EXCUSED: Cell<Excused> = const { Cell::new(Excused { allowed: 0, told: 0, own: 0 }) };
}

/// Such time of this thread, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Excused {
    pub(crate) allowed: u64,
    pub(crate) told: u64,
    pub(crate) own: u64,
}

/// Why time is excused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excuse {
    Allowed,
    Told,
    Own,
}

impl Excused {
    /// Up to now.
    pub(crate) fn so_far() -> Self {
        EXCUSED.get()
    }

    /// Since then.
    pub(crate) fn since(self) -> Self {
        let now = EXCUSED.get();
        Self {
            allowed: now.allowed - self.allowed,
            told: now.told - self.told,
            own: now.own - self.own,
        }
    }

    pub(crate) fn total(self) -> u64 {
        self.allowed + self.told + self.own
    }
}

/// Excuses what this thread does until it is dropped. Inside of another one it does nothing.
#[must_use]
pub(crate) struct Excusing {
    excuse: Excuse,
    since: u64,
    before: Excused,
}

impl Excusing {
    pub(crate) fn start(excuse: Excuse) -> Self {
        Self { excuse, since: now(), before: EXCUSED.get() }
    }
}

impl Drop for Excusing {
    fn drop(&mut self) {
        let took = now() - self.since;
        let Self { mut before, .. } = *self;
        // What was excused inside is part of it.
        match self.excuse {
            Excuse::Allowed => before.allowed += took,
            Excuse::Told => before.told += took,
            Excuse::Own => before.own += took,
        }
        EXCUSED.set(before);
    }
}

/// For adapters: locks a mutex of ours, which nothing panics over. That it must be waited for, because its holder was put
/// aside by the system, is nobody's fault.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => {
            let _excusing = Excusing::start(Excuse::Own);
            mutex.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_excused_twice() {
        let before = Excused::so_far();
        {
            let _outer = Excusing::start(Excuse::Allowed);
            drop(Excusing::start(Excuse::Told));
        }
        let since = before.since();
        assert!(since.allowed > 0 && since.told == 0, "{since:?}");
    }
}
