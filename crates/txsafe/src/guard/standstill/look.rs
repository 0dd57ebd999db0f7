//! A look at the transactions that wait, by the thread that looks names up.

use super::{
    blocked,
    circle::{Held, stuck},
    live,
    standing::{Progress, Wait},
};
use crate::guard::{
    code::Code,
    origin::{Awaited, Names},
    scope::Scope,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// Who has waited for less may have what it waits for at any moment.
pub(super) const LONG: Duration = Duration::from_millis(500);

/// So many of those who are in it, too, are named.
const MOST_NAMED: usize = 5;

/// Looks at all that have waited for long, and tells of those that stand still. Whether there is any transaction.
pub(in crate::guard) fn look(names: &mut Names) -> bool {
    let live = live::accounted();
    if live.is_empty() {
        return false;
    }
    live.iter().for_each(|scope| name_wait(scope, names));
    // Names take their time, in which somebody may have got what it waited for.
    let waits: Vec<_> = live.iter().map(|scope| (scope, wait_of(scope))).collect();
    tell_circles(&waits);
    for (scope, wait) in waits {
        if let Some(wait) = wait {
            suspect(scope, &wait);
        }
    }
    live.iter().for_each(blocked::look);
    true
}

/// What a scope has waited for so long; none if it is an answer of its own connection.
fn wait_of(scope: &Scope) -> Option<Wait> {
    scope.standing.wait(LONG).filter(|_| !scope.connection.is_waiting())
}

/// Looks up what that is, and where.
fn name_wait(scope: &Scope, names: &mut Names) {
    let Some(wait) = wait_of(scope).filter(|wait| wait.awaited.is_none()) else { return };
    let asked = wait.alert.asked();
    // Nothing, while a poll has just begun.
    if !asked.is_empty() {
        let awaited = names.awaited(&asked);
        scope.standing.note(wait.since, |wait| wait.awaited = Some(awaited));
    }
}

fn tell_circles(waits: &[(&Arc<Scope>, Option<Wait>)]) {
    let mut pools = BTreeMap::<u64, Held<(&Arc<Scope>, &Wait)>>::new();
    for (scope, wait) in waits {
        let Some(pool) = &scope.pool else { continue };
        let state = || Held { pool: pool.state(), waiting: Vec::new(), others: 0 };
        let held = pools.entry(scope.database).or_insert_with(state);
        match wait.as_ref().filter(|_| waits_for_connection(scope, waits)) {
            Some(wait) => held.waiting.push((scope, wait)),
            None => held.others += 1,
        }
    }
    let stuck = stuck(pools.into_values().collect());
    let is_told = |(_, wait): &(_, &Wait)| wait.progress == Progress::Told;
    let fails = |(scope, _): &(&Arc<Scope>, _)| scope.guard.fails(Code::EndlessCheckout);
    if stuck.iter().flat_map(|held| &held.waiting).any(|last| is_told(last) && fails(last)) {
        // It is on its way out, and gives its connection to one of the others.
        return;
    }
    let untold = stuck.iter().filter(|held| !held.waiting.iter().any(is_told));
    // Whoever came last closed the circle. If that fails it, the others may go on, of other pools, too.
    let last = untold.flat_map(|held| held.waiting.iter().map(move |last| (held, last)));
    if let Some((held, (scope, wait))) = last.max_by_key(|(_, (_, wait))| wait.since) {
        let others = held.waiting.iter().map(|(other, _)| *other);
        let others = others.filter(|other| !Arc::ptr_eq(other, scope));
        tell_circle(scope, wait, others, held.pool.waiting.is_some());
    }
}

/// Whether it waits for a connection itself, or a transaction inside of it does.
fn waits_for_connection(scope: &Arc<Scope>, waits: &[(&Arc<Scope>, Option<Wait>)]) -> bool {
    waits.iter().any(|(inner, wait)| {
        let is_checkout = |wait: &Wait| matches!(wait.awaited, Some((Awaited::Connection, _)));
        inner.is_inside(scope) && wait.as_ref().is_some_and(is_checkout)
    })
}

fn tell_circle<'a>(
    scope: &Arc<Scope>,
    wait: &Wait,
    others: impl Iterator<Item = &'a Arc<Scope>>,
    is_certain: bool,
) {
    let others: BTreeSet<_> =
        others.map(|other| format!("\"{}\" ({})", other.transaction, other.place)).collect();
    let what = if others.is_empty() {
        "waits for a connection, while it holds the only one of its pool".to_owned()
    } else {
        let others: Vec<_> = others.into_iter().take(MOST_NAMED).collect();
        format!("waits for a connection, as do all who could give one back: {}", others.join(", "))
    };
    let unless = if is_certain { "" } else { ", unless it waits for another pool" };
    wait.tell(scope, Code::EndlessCheckout, what + unless);
    // What fails a transaction is raised at the end of a poll.
    wait.alert.wake_task();
}

/// Who waits for an answer of some database that isn't its own connection's, may wait for its own locks.
fn suspect(scope: &Arc<Scope>, wait: &Wait) {
    let is_it = matches!(wait.awaited, Some((Awaited::Database, _)));
    let is_new = wait.progress == Progress::New && scope.told.load(Relaxed) == 0;
    if !is_it || !is_new || !scope.guard.sees(Code::OwnLock) {
        return;
    }
    if scope.standing.note(wait.since, |wait| wait.progress = Progress::Suspected) {
        wait.alert.wake_task();
    }
}
