//! Whether a blocking transaction waits for its own locks. It has no waker, and nobody sees what its thread waits for: but
//! pools tell that it took a second connection, and the server knows who waits behind it.

use super::look::LONG;
use crate::{
    guard::{
        code::Code,
        pool::Pool,
        report::{Seen, Where},
        scope::Scope,
    },
    hold::times::now,
};
use futures_util::FutureExt;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

const QUESTION_SQL: &str = include_str!("../../../sql/own_lock_blocked.sql");

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
    let is_due = now().saturating_sub(asked.load(Relaxed))
        >= u64::try_from(LONG.as_nanos()).unwrap_or(u64::MAX);
    let may_be = has_second.load(Relaxed) && waited >= LONG && !scope.blocked.is_told(since);
    if !may_be || !is_due || !scope.guard.sees(Code::OwnLock) {
        return;
    }
    asked.store(now(), Relaxed);
    let Some((process, sql)) = waiter(scope, pool.as_ref(), waited) else { return };
    told.store(since, Relaxed);
    let seen = Seen {
        code: Code::OwnLock,
        what: format!("waits on another connection, by `{sql}`, for a lock that it holds itself"),
        subject: sql,
        site: Where::Unknown,
        waited: Some(waited),
    };
    scope.guard.report(scope, seen);
    if scope.guard.fails(Code::OwnLock) {
        ask(pool.as_ref(), CANCEL_SQL, [process, String::new()]);
    }
}

/// The process that waits for the transaction, and its statement.
fn waiter(scope: &Scope, pool: &dyn Pool, waited: Duration) -> Option<(String, String)> {
    let age = scope.began.elapsed();
    let times = [age, age.saturating_sub(waited)].map(|time| time.as_secs_f64().to_string());
    let answer = ask(pool, QUESTION_SQL, [scope.application_name.to_string(), times.join(" ")])?;
    let (process, sql) = answer.split_once(' ')?;
    Some((process.to_owned(), sql.to_owned()))
}

/// Pools of blocking connections have their answer at once.
fn ask(pool: &dyn Pool, sql: &'static str, binds: [String; 2]) -> Option<String> {
    pool.ask(sql, binds)?.now_or_never()?
}
