//! What one attempt locks, as the graph is told of it.

#[cfg(feature = "sql")]
use super::plain::Read;
use super::{
    class::{Class, ClassId},
    edges::{Direction, Edge, Graph, LockGraph},
    inversion::{Inversion, Place, Witness},
};
use crate::clock::excused::lock;
use std::{
    fmt,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard},
};

/// What one attempt locks; shared by the types that lock and by what sees its plain SQL. By default nothing is noted. A test
/// kit has logs of its own, of what it sees from outside.
#[derive(Clone, Default)]
pub struct LockLog(Option<Arc<Mutex<Log>>>);

/// The value of a parameter that tells a row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "what isn't a number is bytes")]
pub enum BindKey {
    /// An integer, of whatever width.
    Integer(i64),
    /// Anything else, by its first bytes.
    Bytes(Vec<u8>),
}

struct Log {
    graph: Arc<Graph>,
    transaction: Arc<str>,
    /// Where the transaction was called, if it is seen from inside.
    call: Option<&'static Location<'static>>,
    tell: fn(&Inversion),
    held: Vec<Held>,
    /// So many of these are certainly held: a statement that was to take them, or a later one, went well.
    granted: usize,
    /// How many steps it has taken.
    steps: u64,
}

#[derive(Debug, Clone)]
struct Held {
    class: ClassId,
    /// The locks of one step have no order among themselves. It is one lock, unless the server was asked what a statement
    /// had locked.
    step: u64,
    /// Compares as the keys do, at least by their first bytes.
    key: Option<u64>,
    place: Place,
    /// It was waited for.
    waited: bool,
}

impl LockLog {
    /// Of an attempt of a transaction that was called at `call`, unless it is watched from outside; inversions go to
    /// `tell`.
    #[must_use]
    pub fn new(
        graph: &LockGraph,
        transaction: &Arc<str>,
        call: Option<&'static Location<'static>>,
        tell: fn(&Inversion),
    ) -> Self {
        Self(graph.graph().map(|graph| {
            Arc::new(Mutex::new(Log {
                graph: Arc::clone(graph),
                transaction: Arc::clone(transaction),
                call,
                tell,
                held: Vec::with_capacity(8),
                granted: 0,
                steps: 0,
            }))
        }))
    }

    /// A lock is wanted, at a place in the code, with a key that compares as [`LockKey`](crate::LockKey)s do.
    pub fn wants(&self, class: &Class, key: u64, at: &'static Location<'static>, waits: bool) {
        let (Some(mut log), Some(class)) = (self.log(), class.id()) else { return };
        let step = log.step();
        log.want(Held { class, step, key: Some(key), place: Place::Code(at), waited: waits });
    }

    /// For adapters: a statement is to run. What it locks is read from its text; `bind` tells the value of a parameter, counted
    /// from 0, and is asked only for what tells a locked row.
    ///
    /// Called before the statement is sent: who waits for a lock wants it, and who dies in a deadlock asks at once what the
    /// others want.
    #[cfg_attr(not(feature = "sql"), expect(unused_variables, reason = "nothing reads SQL"))]
    pub fn will_run(&self, sql: &str, bind: impl Fn(usize) -> Option<BindKey>) {
        #[cfg(feature = "sql")]
        if let Some(mut log) = self.log()
            && let Some(statement) = log.graph.statements.read(sql)
        {
            for Read { class, key, waits } in &statement.locks {
                let (class, key) = (*class, key.as_ref().and_then(|key| key.prefix(&bind)));
                let place = Place::Sql(Arc::clone(&statement.sql));
                let step = log.step();
                log.want(Held { class, step, key, place, waited: *waits });
            }
        }
    }

    /// Whether a statement is worth to be read, because it may lock.
    pub(crate) fn may_lock(&self, sql: &str) -> bool {
        #[cfg(feature = "sql")]
        return self.0.is_some() && crate::dialect::postgres::locks::may_lock(sql);
        #[cfg(not(feature = "sql"))]
        {
            let _ = sql;
            false
        }
    }

    /// A statement went well: what was wanted before is held.
    pub(crate) fn granted(&self) {
        if let Some(mut log) = self.log() {
            log.granted = log.held.len();
        }
    }

    /// What is held, for messages; what is only waited for isn't.
    pub(crate) fn held(&self) -> Vec<String> {
        let shown = |held: &Held| format!("`{}` ({})", held.class.name(), held.place);
        let held = self.log().map(|log| log.held[..log.granted].iter().map(shown).collect());
        held.unwrap_or_default()
    }

    /// For test kits: all tables in which the transaction holds locks, as the server says when it has run `sql`. Those that
    /// are new were locked by it, in an order that nobody knows; those that aren't among them any more were given back.
    ///
    /// Only for logs of [`LockGraph::watch`].
    pub fn holds(&self, sql: &str, tables: &[HeldTable<'_>]) {
        let Some(mut log) = self.log() else { return };
        let class = |table: &HeldTable<'_>| Some((ClassId::named(table.name)?, table.waited));
        let tables: Vec<_> = tables.iter().filter_map(class).collect();
        log.held.retain(|held| tables.iter().any(|(class, _)| *class == held.class));
        let (step, sql) = (log.step(), Arc::<str>::from(sql));
        for (class, waited) in tables {
            let place = Place::Sql(Arc::clone(&sql));
            log.want(Held { class, step, key: None, place, waited });
        }
        log.granted = log.held.len();
    }

    /// Where the list stands now.
    pub(crate) fn mark(&self) -> usize {
        self.log().map(|log| log.held.len()).unwrap_or_default()
    }

    /// What was locked since `mark` has been given back.
    pub(crate) fn rolled_back_to(&self, mark: usize) {
        if let Some(mut log) = self.log() {
            log.held.truncate(mark);
            log.granted = log.granted.min(mark);
        }
    }

    fn log(&self) -> Option<MutexGuard<'_, Log>> {
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

impl Held {
    /// Whether it may be the same row, which then needn't be waited for. Where a key isn't known nobody can say, nor of a
    /// literal in SQL and a key of a type.
    fn may_be(&self, other: &Self) -> bool {
        let is_code = |held: &Self| matches!(held.place, Place::Code(_));
        self.key.is_none()
            || other.key.is_none()
            || self.key == other.key
            || is_code(self) != is_code(other)
    }
}

impl Log {
    /// The next step.
    fn step(&mut self) -> u64 {
        self.steps += 1;
        self.steps
    }

    fn want(&mut self, wanted: Held) {
        let mut of_class = self.held.iter().rev().filter(|held| held.class == wanted.class);
        let is_held = of_class.any(|held| wanted.may_be(held));
        if is_held {
            return;
        }
        if wanted.waited {
            self.compare(&wanted);
        }
        self.held.push(wanted);
    }

    /// Learns what is new of the locks behind the last step. Those before led to it, and so are known; but to a lock that
    /// wasn't waited for, nothing leads.
    fn compare(&self, wanted: &Held) {
        let mut last_step = None;
        for held in self.held.iter().rev().filter(|held| held.step != wanted.step) {
            if last_step.is_some_and(|step| step != held.step) {
                break;
            }
            if held.class == wanted.class {
                self.compare_keys(held, wanted);
            } else if !self.graph.is_known(held.class, wanted.class) {
                self.tell(self.graph.learn(self.edge(held, wanted)));
            }
            if held.waited {
                last_step = Some(held.step);
            }
        }
    }

    fn compare_keys(&self, held: &Held, wanted: &Held) {
        let is_less = held.key < wanted.key;
        let direction = if is_less { Direction::Ascending } else { Direction::Descending };
        if !self.graph.is_known_direction(wanted.class, direction) {
            self.tell(self.graph.learn_direction(self.edge(held, wanted), direction));
        }
    }

    fn edge(&self, held: &Held, wanted: &Held) -> Edge {
        let witness = Witness::Seen {
            transaction: Arc::clone(&self.transaction),
            call: self.call,
            held: held.place.clone(),
            wanted: wanted.place.clone(),
        };
        Edge { from: held.class, to: wanted.class, witness }
    }

    fn tell(&self, inversion: Option<Arc<Inversion>>) {
        if let Some(inversion) = inversion {
            (self.tell)(&inversion);
        }
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
