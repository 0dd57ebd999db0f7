//! What one attempt locks, as the graph is told of it.

use super::{
    attempt::{Attempt, Held, Noticed},
    class::{Class, ClassId},
    edges::LockGraph,
    inversion::Place,
    savepoints::Savepoints,
};
use crate::{
    clock::excused::lock,
    dialect::{Dialect, postgres::savepoints},
};
use std::{
    fmt,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard},
};

/// What one attempt locks; shared by the types that lock and by what sees its plain SQL. By default nothing is noted. A test
/// kit has logs of its own, of what it sees from outside.
#[derive(Clone, Default)]
pub struct LockLog(Option<Arc<Mutex<Attempt>>>);

/// The value of a parameter that tells a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "what isn't a number, nor a list, is bytes")]
pub enum BindKey {
    /// An integer, of whatever width.
    Integer(i64),
    /// Anything else, whole: the rows of a list are compared by it.
    Bytes(Vec<u8>),
    /// An array, at least its first elements.
    List(Vec<BindKey>),
}

impl LockLog {
    /// Of an attempt of a transaction that was called at `call`, unless it is watched from outside; what is noticed goes to
    /// `tell`. Without a graph, only savepoints are followed.
    #[must_use]
    pub fn new(
        graph: &LockGraph,
        transaction: &Arc<str>,
        call: Option<&'static Location<'static>>,
        tell: fn(Noticed<'_>),
    ) -> Self {
        Self(Some(Arc::new(Mutex::new(Attempt {
            graph: graph.graph().cloned(),
            transaction: Arc::clone(transaction),
            call,
            tell,
            can_deadlock: true,
            cheap_subtransactions: None,
            held: Vec::with_capacity(8),
            granted: 0,
            steps: 0,
            savepoints: Savepoints::default(),
            given_back: None,
        }))))
    }

    /// The same on a database of this kind.
    pub(crate) fn on(self, dialect: &dyn Dialect) -> Self {
        if let Some(mut log) = self.log() {
            log.can_deadlock = dialect.can_deadlock();
            log.cheap_subtransactions = dialect.cheap_subtransactions();
        }
        self
    }

    /// A lock is wanted, at a place in the code, with a key that compares as [`LockKey`](crate::LockKey)s do. Returns its step.
    pub fn wants(
        &self,
        class: &Class,
        key: u64,
        at: &'static Location<'static>,
        waits: bool,
    ) -> u64 {
        let Some(mut log) = self.log() else { return 0 };
        let step = log.step();
        if let Some(class) = class.id().filter(|_| log.graph.is_some()) {
            let (key, place) = (Some(key), Place::Code(at));
            log.want(Held { class, step, key, place, waited: waits, is_sessions: false });
        }
        step
    }

    /// For adapters: a statement is to run. What it locks, and does to savepoints, is read from its text; `bind` returns the value of
    /// a parameter, counted from 0, and is called only for values that identify a lock or a row.
    ///
    /// Called before the statement is sent: who waits for a lock wants it, and who dies in a deadlock asks at once what the
    /// others want.
    #[cfg_attr(not(feature = "sql"), expect(unused_variables, reason = "nothing reads SQL"))]
    pub fn will_run(&self, sql: &str, bind: impl Fn(usize) -> Option<BindKey>) {
        let Some(mut log) = self.log() else { return };
        #[cfg(feature = "sql")]
        let is_read = log.read(sql, &bind);
        #[cfg(not(feature = "sql"))]
        let is_read = false;
        if !is_read {
            savepoints::of(sql).into_iter().for_each(|change| log.change_savepoint(change));
        }
        log.may_write(sql);
    }

    /// Whether a statement is worth to be read, because it may lock, or change savepoints, or write behind one.
    pub(crate) fn is_worth_reading(&self, sql: &str) -> bool {
        let Some(log) = self.log() else { return false };
        #[cfg(feature = "sql")]
        if log.graph.is_some() && crate::dialect::postgres::locks::may_lock(sql) {
            return true;
        }
        savepoints::may_change(sql) || (log.savepoints.depth() > 0 && savepoints::may_write(sql))
    }

    /// A statement went well: what was wanted before is held.
    pub(crate) fn granted(&self) {
        if let Some(mut log) = self.log() {
            log.granted = log.steps;
        }
    }

    /// What is held, for messages; what is only waited for isn't.
    pub(crate) fn held(&self) -> Vec<String> {
        let shown = |held: &Held| format!("`{}` ({})", held.class.name(), held.place);
        let Some(log) = self.log() else { return Vec::new() };
        log.held.iter().filter(|held| held.step <= log.granted).map(shown).collect()
    }

    /// For test kits: all tables in which the transaction holds locks, as the server says when it has run `sql`. Those that
    /// are new were locked by it, in an order that nobody knows; those that aren't among them any more were given back.
    ///
    /// Only for logs of [`LockGraph::watch`].
    pub fn holds(&self, sql: &str, tables: &[HeldTable<'_>]) {
        let Some(mut log) = self.log().filter(|log| log.graph.is_some()) else { return };
        let class = |table: &HeldTable<'_>| Some((ClassId::named(table.name)?, table.waited));
        let tables: Vec<_> = tables.iter().filter_map(class).collect();
        log.held.retain(|held| tables.iter().any(|(class, _)| *class == held.class));
        let (step, sql) = (log.step(), Arc::<str>::from(sql));
        for (class, waited) in tables {
            let place = Place::Sql(Arc::clone(&sql));
            log.want(Held { class, step, key: None, place, waited, is_sessions: false });
        }
        log.granted = log.steps;
    }

    /// The step that was taken last.
    pub(crate) fn mark(&self) -> u64 {
        self.log().map(|log| log.steps).unwrap_or_default()
    }

    /// What was locked since `mark` has been given back.
    pub(crate) fn rolled_back_to(&self, mark: u64) {
        if let Some(mut log) = self.log() {
            log.rolled_back_to(mark);
        }
    }

    /// The step behind which plain SQL has given everything back, if it did since this was asked last.
    pub(crate) fn take_given_back(&self) -> Option<u64> {
        self.log()?.given_back.take()
    }

    /// How many savepoints are open.
    pub(crate) fn savepoints(&self) -> usize {
        self.log().map(|log| log.savepoints.depth()).unwrap_or_default()
    }

    /// A driver has set a savepoint where so many were open; unless its statement was seen.
    pub(crate) fn savepoint_set(&self, depth: usize) {
        if let Some(mut log) = self.log().filter(|log| log.savepoints.depth() == depth) {
            let step = log.steps;
            log.savepoints.set(None, step);
        }
    }

    /// A driver has released the savepoint that it had set where so many were open, or rolled it back and released it.
    pub(crate) fn savepoint_ended(&self, depth: usize, is_released: bool) {
        if let Some(mut log) = self.log() {
            log.savepoints.ended(depth, is_released);
        }
    }

    fn log(&self) -> Option<MutexGuard<'_, Attempt>> {
        self.0.as_ref().map(|log| lock(log))
    }
}

/// A table in which a transaction holds locks, as a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldTable<'a> {
    /// As plain SQL calls it: `orders`, or `shop.orders` if the schema isn't `public`, nor on the `search_path`.
    pub name: &'a str,
    /// Whether the statement would have waited for its locks: not so with `NOWAIT` and `SKIP LOCKED`.
    pub waited: bool,
}

impl<'a> HeldTable<'a> {
    /// A table whose locks were waited for, or not.
    #[must_use]
    pub const fn new(name: &'a str, waited: bool) -> Self {
        Self { name, waited }
    }
}

impl fmt::Debug for LockLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.log() {
            None => f.write_str("LockLog(off)"),
            Some(log) => f.debug_tuple("LockLog").field(&log.held).finish(),
        }
    }
}

#[cfg(test)]
mod tests;
