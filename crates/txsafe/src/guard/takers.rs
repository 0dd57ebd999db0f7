//! Which code takes connections from a pool outside of transactions, as the pool's hooks report: a hook runs in the task, or on
//! the thread, that takes a connection.
//!
//! A hook doesn't say to which pool it belongs. So a database that takes a connection marks the code that runs, and the first
//! hook that runs meanwhile makes its pool's list known to that database.

#[cfg(feature = "origins")]
use super::origin::Trace;
use super::{
    code_that_runs::Runner,
    holding::{Holding, Holdings},
    report::Where,
    second::connection_taken,
};
use crate::{
    clock::{excused::lock, times::now},
    dialect::holders::Taker,
    telemetry::pool::PoolState,
};
#[cfg(feature = "origins")]
use std::sync::atomic::AtomicBool;
use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tracing::{Metadata, Span};

/// Whether stacks are wanted.
#[cfg(feature = "origins")]
static TRACES: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The database whose transaction takes a connection, on this thread.
    static TAKES: RefCell<Option<Arc<Holdings>>> = const { RefCell::new(None) };
}

/// The connections of one pool, each with the code that took it last. For hooks of pools.
#[derive(Clone)]
pub struct Takers(Arc<Pool>);

struct Pool {
    /// What findings call it.
    name: &'static str,
    /// Its hooks report connections that are given back, too.
    reports_return: bool,
    connections: Mutex<Connections>,
    /// How many of them code outside of transactions took last: none is what most transactions find.
    outside: AtomicUsize,
    /// The databases over it, as far as they have taken a connection.
    databases: Mutex<Vec<Weak<Holdings>>>,
}

#[derive(Default)]
struct Connections {
    /// By connection; none if a transaction of txsafe took it last, or nothing did yet.
    taken: HashMap<u64, Option<Taken>>,
    /// How often that was changed.
    changes: u64,
}

/// A connection that code outside of transactions took.
#[derive(Clone)]
pub(crate) struct Taken {
    by: Runner,
    at: u64,
    span: Option<&'static Metadata<'static>>,
    #[cfg(feature = "origins")]
    trace: Option<Arc<Trace>>,
}

/// A connection of a pool whose hooks report which code takes it. Dropped with the connection, it takes it off the list.
#[derive(Debug)]
pub struct Tracked {
    takers: Takers,
    connection: u64,
}

/// What a pool's list says at one moment.
pub(super) struct Listed {
    /// The connections whose last taker is code outside of transactions, the oldest first.
    pub(super) outside: Vec<Taken>,
    /// How many connections are on the list, whatever took them last.
    connections: usize,
    reports_return: bool,
}

/// The databases over a pool, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Databases {
    pub(super) count: usize,
    /// How many attempts of theirs take a connection: they wait for one, or have one that no hook has reported yet.
    pub(super) taking: usize,
}

/// Stacks of code that takes connections are wanted.
#[cfg(feature = "origins")]
pub(super) fn want_traces() {
    TRACES.store(true, Relaxed);
}

impl Takers {
    /// The list of a pool that findings call `name`.
    ///
    /// Set `reports_return` if its hooks call [`given_back`](Self::given_back) for every connection that goes back or is closed.
    /// Otherwise each connection has to be [tracked](Self::track_as), and code is named as its holder only where the numbers of
    /// the pool leave no doubt.
    #[must_use]
    pub fn new(name: &'static str, reports_return: bool) -> Self {
        let (connections, outside, databases) = Default::default();
        Self(Arc::new(Pool { name, reports_return, connections, outside, databases }))
    }

    /// The code that runs takes this connection.
    pub fn taken(&self, connection: u64) {
        connection_taken(self.0.name);
        self.note(connection);
    }

    /// Tracks a connection that was made now, under a number that no other one has.
    #[must_use]
    pub fn track(&self) -> Tracked {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        self.track_as(NEXT.fetch_add(1, Relaxed))
    }

    /// Tracks a connection that was made now, under the number by which the pool's hooks know it.
    #[must_use]
    pub fn track_as(&self, connection: u64) -> Tracked {
        self.0.set(connection, Some(None));
        Tracked { takers: self.clone(), connection }
    }

    /// It goes back, or is closed.
    pub fn given_back(&self, connection: u64) {
        self.0.set(connection, None);
    }

    /// A pool reports a timeout while it is locked, on the thread that waits for it: then it makes itself known, too.
    pub fn timed_out(&self) {
        TAKES.with_borrow(|database| database.iter().for_each(|database| database.claim(self)));
    }

    /// A database is over this pool.
    pub(super) fn add(&self, database: &Arc<Holdings>) {
        let mut databases = lock(&self.0.databases);
        databases.retain(|known| known.strong_count() > 0);
        databases.push(Arc::downgrade(database));
    }

    /// The databases over this pool.
    pub(super) fn databases(&self) -> Databases {
        let known = self.known();
        let taking = known.iter().map(|database| database.taking()).sum();
        Databases { count: known.len(), taking }
    }

    /// How often this list, or what a database over this pool holds, was changed.
    pub(super) fn changes(&self) -> u64 {
        let known = self.known();
        let held: u64 = known.iter().map(|database| database.changes()).sum();
        held.wrapping_add(lock(&self.0.connections).changes)
    }

    fn known(&self) -> Vec<Arc<Holdings>> {
        lock(&self.0.databases).iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn listed(&self) -> Listed {
        let connections = lock(&self.0.connections);
        let mut outside: Vec<_> = connections.taken.values().flatten().cloned().collect();
        let (connections, reports_return) = (connections.taken.len(), self.0.reports_return);
        outside.sort_by_key(|taken| taken.at);
        Listed { outside, connections, reports_return }
    }

    /// What findings call it.
    pub(super) fn name(&self) -> &'static str {
        self.0.name
    }

    /// Whether this code took a connection outside of a transaction, and nothing took that one since.
    pub(super) fn has_of(&self, runner: Runner) -> bool {
        self.0.outside.load(Relaxed) > 0
            && lock(&self.0.connections).taken.values().flatten().any(|taken| taken.by == runner)
    }

    fn note(&self, connection: u64) {
        let is_ours = TAKES.with_borrow(|database| {
            database.as_ref().inspect(|database| database.claim(self)).is_some()
        });
        let taken = (!is_ours).then(Taken::here);
        // One that isn't on the list would never come off it again.
        if self.0.reports_return || lock(&self.0.connections).taken.contains_key(&connection) {
            self.0.set(connection, Some(taken));
        }
    }
}

impl Pool {
    /// Puts a connection on the list, with the code outside of transactions that took it last, or takes it off.
    fn set(&self, connection: u64, now: Option<Option<Taken>>) {
        let connections = &mut *lock(&self.connections);
        let is_outside = matches!(now, Some(Some(_)));
        let before = match now {
            Some(taken) => connections.taken.insert(connection, taken),
            None => connections.taken.remove(&connection),
        };
        connections.changes += 1;
        match (before.flatten().is_some(), is_outside) {
            (false, true) => _ = self.outside.fetch_add(1, Relaxed),
            (true, false) => _ = self.outside.fetch_sub(1, Relaxed),
            (true, true) | (false, false) => {}
        }
    }
}

impl Listed {
    /// Whether each of these takers holds its connection still, in a pool of this state. Of the pool's connections, `others` at
    /// most are in use outside of the transactions of the database that asks.
    ///
    /// An attempt that takes a connection is among the pool's users, and what it takes may have been given back by one of these
    /// takers a moment ago. `waiting` says how many of these attempts are known to wait.
    pub(super) fn is_certain(
        &self,
        pool: PoolState,
        others: usize,
        databases: Databases,
        waiting: usize,
    ) -> bool {
        let taken = self.outside.len();
        if taken > others {
            // One came back while they were counted.
            return false;
        }
        if self.reports_return {
            return true;
        }
        let in_flight = databases.taking.saturating_sub(waiting);
        self.connections == pool.size
            && ((pool.idle == 0 && in_flight == 0)
                || (databases.count <= 1 && taken == others.saturating_sub(databases.taking)))
    }
}

impl Taken {
    fn here() -> Self {
        Self {
            by: Runner::here(),
            at: now(),
            span: Span::current().metadata(),
            #[cfg(feature = "origins")]
            trace: TRACES.load(Relaxed).then(|| Arc::new(Trace::capture())),
        }
    }

    /// Whether this code took it.
    pub(super) fn is_of(&self, runner: Runner) -> bool {
        self.by == runner
    }

    /// As an error reports it to the code that waits, which is `waits`.
    pub(super) fn describe(&self, waits: Runner) -> Taker {
        let by = match self.by {
            by if by == waits => "by the code that waits",
            #[cfg(feature = "tokio")]
            Runner::Task(_) => "by another task",
            Runner::Thread(_) => "by another thread",
        };
        Taker { age: self.age(), taken_by: format!("{by}{}", self.in_span()) }
    }

    /// The span that it was taken in: where a handler has one, its metadata name the handler.
    pub(super) fn in_span(&self) -> String {
        let Some(span) = self.span else { return String::new() };
        match (span.file(), span.line()) {
            (Some(file), Some(line)) => format!(", in span `{}` ({file}:{line})", span.name()),
            _ => format!(", in span `{}`", span.name()),
        }
    }

    pub(super) fn age(&self) -> Duration {
        Duration::from_nanos(now().saturating_sub(self.at))
    }

    /// Where it was taken.
    pub(super) fn site(&self) -> Where {
        #[cfg(feature = "origins")]
        if let Some(trace) = &self.trace {
            return Where::On(Arc::clone(trace));
        }
        Where::Unknown
    }
}

/// An attempt takes a connection by `checkout`: what hooks report meanwhile is its own.
pub(crate) async fn taking<F: Future>(attempt: &Holding, checkout: F) -> F::Output {
    let mut checkout = pin!(checkout);
    poll_fn(|cx| taking_blocking(attempt, || checkout.as_mut().poll(cx))).await
}

/// The blocking twin of [`taking`].
pub(crate) fn taking_blocking<R>(attempt: &Holding, checkout: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<Holdings>>);

    impl Drop for Restore {
        fn drop(&mut self) {
            TAKES.set(self.0.take());
        }
    }

    let _restore = Restore(TAKES.replace(attempt.takes_of()));
    checkout()
}

impl Tracked {
    /// The code that runs takes it.
    pub fn taken(&self) {
        self.takers.note(self.connection);
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.takers.given_back(self.connection);
    }
}

impl fmt::Debug for Takers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Takers({})", self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_list_knows_which_code_took_a_connection_last() {
        let takers = Takers::new("a pool", true);
        let mine = Runner::here();
        takers.taken(1);
        assert!(takers.has_of(mine));
        let [taken] = &takers.listed().outside[..] else { panic!("one is held") };
        assert!(taken.describe(mine).to_string().ends_with(" ago by the code that waits"));
        let elsewhere = thread::scope(|scope| scope.spawn(Runner::here).join().unwrap());
        assert!(!takers.has_of(elsewhere));
        let described = taken.describe(elsewhere).to_string();
        assert!(described.ends_with(" ago by another thread"), "{described}");
        takers.given_back(1);
        assert!(!takers.has_of(mine) && takers.listed().outside.is_empty());
    }

    #[test]
    fn a_connection_is_on_the_list_for_as_long_as_it_lives() {
        let takers = Takers::new("a pool", false);
        let [first, second] = [takers.track_as(7), takers.track()];
        assert_eq!((takers.listed().connections, takers.listed().outside.len()), (2, 0));
        takers.taken(7);
        second.taken();
        assert_eq!((takers.listed().connections, takers.listed().outside.len()), (2, 2));
        drop(first);
        takers.taken(7);
        assert_eq!((takers.listed().connections, takers.listed().outside.len()), (1, 1));
        drop(second);
        assert!(!takers.has_of(Runner::here()));
    }
}
