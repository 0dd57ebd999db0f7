//! Whether a blocking transaction waits for its own locks. It has no waker, and nobody sees what its thread waits for: but
//! pools tell that it took a second connection, and the server knows who waits behind it.

use super::{
    look::LONG,
    own_lock::{Waiter, question},
};
use crate::{
    clock::{self, times::now},
    guard::{
        code::Code,
        pool::Pool,
        report::{Seen, Where},
        scope::Scope,
    },
};
use futures_util::FutureExt;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Nobody knows what the thread waits for. So the transaction must be as old as the first number of seconds, the statement must
/// have begun after as many as the second, and its session must bear the name of the one that asks: not that of a transaction.
const QUESTION_SQL: &str = question!(
    "AND abs(extract(epoch FROM clock_timestamp() - holder.xact_start) - split_part($2, ' ', 1)::float8) < 0.1 \
     AND extract(epoch FROM waiter.query_start - holder.xact_start) > split_part($2, ' ', 2)::float8 - 0.1 \
     AND waiter.application_name = current_setting('application_name')"
);

/// Ends the wait, since nobody can make the thread look up.
const CANCEL_SQL: &str = "SELECT pg_cancel_backend(CAST($1 AS text)::int)::text AS answer";

/// What is known of a transaction that may block itself.
#[derive(Default)]
pub(in crate::guard) struct Blocked {
    has_second: AtomicBool,
    /// When the server was asked last.
    asked: AtomicU64,
    /// The beginning of the gap that was told of.
    told: AtomicU64,
}

impl Blocked {
    /// It took a second connection.
    pub(in crate::guard) fn took_second(&self) {
        self.has_second.store(true, Relaxed);
    }

    /// Whether the gap that began then was told of.
    pub(in crate::guard) fn is_told(&self, since: u64) -> bool {
        self.told.load(Relaxed) == since
    }
}

/// Looks at a transaction that has been between two statements for long.
pub(super) fn look(scope: &Arc<Scope>) {
    let Blocked { has_second, asked, told } = &scope.blocked;
    let (Some(since), Some(pool)) = (scope.gaps.since(), &scope.pool) else { return };
    let waited = Duration::from_nanos(now().saturating_sub(since));
    let is_due = Duration::from_nanos(now().saturating_sub(asked.load(Relaxed))) >= LONG;
    let may_be = has_second.load(Relaxed) && waited >= LONG && !scope.blocked.is_told(since);
    if !may_be || !is_due || !scope.guard.sees(Code::OwnLock) {
        return;
    }
    asked.store(now(), Relaxed);
    let Some(waiter) = waiter(scope, pool.as_ref(), waited) else { return };
    told.store(since, Relaxed);
    let seen = Seen {
        code: Code::OwnLock,
        what: waiter.what(),
        subject: waiter.sql,
        site: Where::Unknown,
        waited: Some(waited),
    };
    scope.guard.report(scope, seen);
    if scope.guard.fails(Code::OwnLock) {
        ask(pool.as_ref(), CANCEL_SQL, [waiter.process, String::new()]);
    }
}

fn waiter(scope: &Scope, pool: &dyn Pool, waited: Duration) -> Option<Waiter> {
    let age = clock::since(scope.began);
    let times = [age, age.saturating_sub(waited)].map(|time| time.as_secs_f64().to_string());
    let binds = [scope.application_name.to_string(), times.join(" ")];
    Waiter::read(&ask(pool, QUESTION_SQL, binds)?)
}

/// Pools of blocking connections have their answer at once.
fn ask(pool: &dyn Pool, sql: &'static str, binds: [String; 2]) -> Option<String> {
    pool.ask(sql, binds)?.now_or_never()?
}
