//! What a blocking transaction does between its statements.
//!
//! There are no polls to be watched: from the end of one statement to the start of the next, its thread computed, waited
//! for a processor, or was blocked by something that isn't the database.

use super::{
    code::Code,
    kept::Kept,
    report::{Seen, Where},
    scope::{scope, statement_ends, statement_starts},
    thread::Clocks,
};
use crate::clock::{
    excused::Excused,
    times::{Ledger, Wait, now},
};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// What goes by between the statements of a blocking transaction. Its connection tells when they start and end; where nothing
/// is accounted, nobody listens.
#[derive(Clone, Default)]
pub struct Gaps {
    account: Option<Arc<Account>>,
    /// They are those of an attempt, accounted or not.
    of_attempt: bool,
}

struct Account {
    ledger: Arc<Ledger>,
    /// When the gap began that goes on, or the statement that runs. None outside of the closure.
    since: Mutex<Option<Since>>,
    /// It is a statement that runs.
    is_statement: AtomicBool,
}

#[derive(Clone, Copy)]
struct Since {
    at: u64,
    clocks: Option<Clocks>,
    excused: Excused,
}

impl Gaps {
    pub(crate) fn new(ledger: Option<&Arc<Ledger>>) -> Self {
        let account = |ledger: &Arc<Ledger>| Account {
            ledger: Arc::clone(ledger),
            since: Mutex::default(),
            is_statement: AtomicBool::new(false),
        };
        Self { account: ledger.map(account).map(Arc::new), of_attempt: true }
    }

    /// The closure begins.
    pub(crate) fn begin(&self) {
        if let Some(account) = &self.account {
            *account.since() = Some(Since::now());
        }
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        self.gap_ends();
        if let Some(account) = &self.account {
            *account.since() = None;
        }
    }

    /// For adapters: a statement starts.
    pub fn statement_starts(&self) {
        self.gap_ends();
        if let Some(account) = &self.account {
            account.is_statement.store(true, Relaxed);
        }
        if self.of_attempt {
            statement_starts();
        }
    }

    /// When the gap began that goes on.
    #[cfg(feature = "origins")]
    pub(super) fn since(&self) -> Option<u64> {
        let account = self.account.as_ref()?;
        let since = account.since();
        since.as_ref().filter(|_| !account.is_statement.load(Relaxed)).map(|since| since.at)
    }

    fn gap_ends(&self) {
        let since =
            self.account.as_ref().and_then(|account| Some((account, account.since().take()?)));
        if let Some((account, since)) = since {
            account.gap(since);
        }
        if let Some(scope) = scope() {
            Kept::tell(&scope);
        }
        if let Some((account, _)) = since {
            // Telling is no part of what follows.
            *account.since() = Some(Since::now());
        }
    }

    /// For adapters: a statement has ended.
    pub fn statement_ends(&self) {
        if self.of_attempt {
            statement_ends();
        }
        let Some(account) = &self.account else { return };
        let mut since = account.since();
        if let Some(started) = &mut *since {
            account.ledger.add(Wait::Database, now() - started.at);
            *started = Since::now();
            account.is_statement.store(false, Relaxed);
        }
    }
}

impl Account {
    fn since(&self) -> MutexGuard<'_, Option<Since>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A gap has ended, which began at `since`.
    fn gap(&self, since: Since) {
        let wall = now() - since.at;
        let excused = since.excused.since();
        let rest = wall.saturating_sub(excused.total());
        self.ledger.add(Wait::Allowed, excused.allowed);
        self.ledger.add(Wait::External, excused.told);
        let Some(clocks) = since.clocks else {
            return self.ledger.add(Wait::External, rest);
        };
        let spent = clocks.spent(wall);
        let blocked = spent.blocked.min(rest);
        let queued = spent.queued.min(rest - blocked);
        self.ledger.add(Wait::External, blocked);
        self.ledger.add(Wait::Scheduling, queued);
        self.ledger.add(Wait::Running, rest - blocked - queued);
        let Some(scope) = scope() else { return };
        let blocked = Duration::from_nanos(blocked);
        let policy = &scope.guard.policy;
        let is_long = blocked >= policy.external_wait.max(policy.blocking_call);
        #[cfg(feature = "origins")]
        if scope.blocked.is_told(since.at) {
            return;
        }
        if is_long && !scope.kept.has_wait() && !spent.is_the_machines(blocked) {
            let what = format!(
                "was blocked for {blocked:.1?} between two statements, by something that isn't its database",
            );
            let seen = Seen {
                code: Code::ExternalWait,
                what,
                subject: String::new(),
                site: Where::here(policy).behind(),
                waited: Some(blocked),
            };
            scope.guard.report(&scope, seen);
        }
    }
}

impl Since {
    fn now() -> Self {
        Self { at: now(), clocks: Clocks::read(), excused: Excused::so_far() }
    }
}

impl fmt::Debug for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.account.is_some() { "Gaps(accounted)" } else { "Gaps" })
    }
}
