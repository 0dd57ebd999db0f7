//! A lock that is refused, and why.

use std::{fmt, panic::Location};

/// Why a lock was refused before the server was asked for it: waiting for it could have closed a cycle of waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOrderRefusal {
    pub(crate) reason: Reason,
    /// The name of the order, and the order.
    pub(crate) order: (&'static str, &'static str),
    pub(crate) held: Lock,
    pub(crate) wanted: Lock,
}

/// A rank, a key, and the place that wanted them locked.
pub(crate) type Lock = (&'static str, String, &'static Location<'static>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A greater rank is held, by a savepoint that raised it.
    Rank,
    /// A greater key of the same rank is held.
    Key,
    /// The row is held in a weaker mode.
    Upgrade,
}

impl LockOrderRefusal {
    /// The place that took the lock which is held.
    #[must_use]
    pub fn held_at(&self) -> &'static Location<'static> {
        self.held.2
    }

    /// The place that wanted the one that was refused.
    #[must_use]
    pub fn wanted_at(&self) -> &'static Location<'static> {
        self.wanted.2
    }
}

impl fmt::Display for LockOrderRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (held, held_key, held_at) = &self.held;
        let (wanted, key, at) = &self.wanted;
        match self.reason {
            Reason::Rank => write!(
                f,
                "`{wanted}` {key} ({at}) may not be locked while `{held}` {held_key} is already locked ({held_at}): \
                 lock order `{}` is {}; lock it before, or use `try_lock_earlier`",
                self.order.0, self.order.1,
            ),
            Reason::Key => write!(
                f,
                "`{wanted}` {key} ({at}) may not be locked after `{held}` {held_key} ({held_at}): keys of one rank \
                 are locked in ascending order; lock them all by one `lock_many`, which sorts them",
            ),
            Reason::Upgrade => write!(
                f,
                "`{wanted}` {key} ({at}) is locked already in a weaker mode ({held_at}): two transactions that hold \
                 it so would wait for each other; take the stronger mode first",
            ),
        }
    }
}
