//! What one attempt holds, and what the graph learns of it.

use super::{
    class::ClassId,
    edges::{Direction, Edge, Graph},
    inversion::{Inversion, Place, Witness},
    savepoints::Savepoints,
};
#[cfg(feature = "sql")]
use super::{
    log::BindKey,
    plain::Read,
    sql::{AdvisoryCall, Does, ListedRows, Sorted},
};
use crate::dialect::postgres::savepoints::{SavepointChange, may_write};
use std::{panic::Location, sync::Arc};

/// What is noticed of an attempt by what it locks.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Noticed<'a> {
    /// Locks were wanted in an order that can deadlock.
    Inversion(&'a Inversion),
    /// A statement listed rows of a table in no order, by the columns that tell them.
    UnsortedRows {
        /// The table.
        table: &'a str,
        /// What tells its rows.
        columns: &'a [String],
        /// The statement.
        sql: &'a str,
    },
    /// More subtransactions have an id than the server keeps at hand. The number is how many it keeps.
    Subtransactions(usize),
}

/// What one attempt holds.
pub(super) struct Attempt {
    /// None where no locks are noted, and only savepoints are followed.
    pub(super) graph: Option<Arc<Graph>>,
    pub(super) transaction: Arc<str>,
    /// Where the transaction was called, if it is seen from inside.
    pub(super) call: Option<&'static Location<'static>>,
    pub(super) tell: fn(Noticed<'_>),
    /// Locks of the database can be waited for in a circle.
    pub(super) can_deadlock: bool,
    /// So many subtransactions with an id are cheap, where the database has such a limit. None, too, once more
    /// were reported.
    pub(super) cheap_subtransactions: Option<usize>,
    pub(super) held: Vec<Held>,
    /// What was taken up to this step is certainly held: a statement that was to take it, or a later one, went well.
    pub(super) granted: u64,
    /// How many steps it has taken.
    pub(super) steps: u64,
    pub(super) savepoints: Savepoints,
    /// The lowest step behind which all was given back, since somebody asked.
    pub(super) given_back: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) class: ClassId,
    /// The locks of one step have no order among themselves. It is one lock, unless the server was asked what a statement
    /// had locked.
    pub(super) step: u64,
    /// Compares as the keys do, at least by their first bytes.
    pub(super) key: Option<u64>,
    pub(super) place: Place,
    /// It was waited for.
    pub(super) waited: bool,
    /// It is the session's: neither the transaction's end nor that of a savepoint gives it back.
    pub(super) is_sessions: bool,
}

impl Attempt {
    /// The next step.
    pub(super) fn step(&mut self) -> u64 {
        self.steps += 1;
        self.steps
    }

    pub(super) fn want(&mut self, wanted: Held) {
        let mut of_class = self.held.iter().rev().filter(|held| held.class == wanted.class);
        let is_held = of_class.any(|held| wanted.may_be(held));
        if is_held {
            return;
        }
        if wanted.waited && self.can_deadlock {
            self.compare(&wanted);
        }
        self.held.push(wanted);
    }

    /// Takes what a text does to locks and savepoints; whether there is anything in it.
    #[cfg(feature = "sql")]
    pub(super) fn read(&mut self, sql: &str, bind: &impl Fn(usize) -> Option<BindKey>) -> bool {
        let statement = self.graph.as_ref().and_then(|graph| graph.statements.read(sql));
        let Some(statement) = statement else { return false };
        let place = || Place::Sql(Arc::clone(&statement.sql));
        for read in &statement.reads {
            match read {
                Read::Rows { class, key, waits } => {
                    let key = key.as_ref().and_then(|key| key.prefix(bind));
                    let (class, step, place) = (*class, self.step(), place());
                    self.want(Held { class, step, key, place, waited: *waits, is_sessions: false });
                }
                Read::Listed { class, rows } => {
                    if let Some(sorted) = rows.sorted(bind).filter(|_| self.can_deadlock) {
                        self.listed(*class, rows, sorted, &statement.sql);
                    }
                }
                Read::Advisory(call) => self.advisory(call, bind, place()),
                Read::Savepoint(change) => self.change_savepoint(change.clone()),
            }
        }
        !statement.reads.is_empty()
    }

    /// A statement lists rows: in an order that others may list in reverse, or in none.
    #[cfg(feature = "sql")]
    fn listed(&self, class: ClassId, rows: &ListedRows, sorted: Sorted, sql: &Arc<str>) {
        let (Some(graph), ListedRows { table, columns, .. }) = (&self.graph, rows) else { return };
        let direction = match sorted {
            Sorted::Ascending => Direction::Ascending,
            Sorted::Descending => Direction::Descending,
            Sorted::Not => return (self.tell)(Noticed::UnsortedRows { table, columns, sql }),
        };
        if !graph.is_known_direction(class, direction) {
            let place = || Place::Sql(Arc::clone(sql));
            let edge = self.edge_between((class, place()), (class, place()));
            self.tell(graph.learn_direction(edge, direction));
        }
    }

    #[cfg(feature = "sql")]
    fn advisory(
        &mut self,
        call: &AdvisoryCall,
        bind: impl Fn(usize) -> Option<BindKey>,
        place: Place,
    ) {
        match &call.does {
            Does::Lock { lock, waits } => {
                let Some((class, key)) = lock.resolve(bind) else { return };
                let (step, is_sessions) = (self.step(), call.is_sessions);
                self.want(Held { class, step, key, place, waited: *waits, is_sessions });
            }
            Does::Unlock(lock) => {
                let Some((class, key)) = lock.resolve(bind) else { return };
                let is_it =
                    |held: &Held| held.is_sessions && held.class == class && held.key == key;
                if let Some(at) = self.held.iter().rposition(is_it) {
                    self.held.remove(at);
                }
            }
            Does::UnlockAll => self.held.retain(|held| !held.is_sessions),
        }
    }

    /// A statement changes a savepoint.
    pub(super) fn change_savepoint(&mut self, change: SavepointChange) {
        if let Some(step) = self.savepoints.change(change, self.steps) {
            self.given_back = Some(self.given_back.map_or(step, |before| before.min(step)));
            self.rolled_back_to(step);
        }
    }

    /// What was locked behind this step has been given back.
    pub(super) fn rolled_back_to(&mut self, step: u64) {
        self.held.retain(|held| held.step <= step || held.is_sessions);
    }

    /// A statement may write behind savepoints.
    pub(super) fn may_write(&mut self, sql: &str) {
        let Some(cheap) = self.cheap_subtransactions.filter(|_| self.savepoints.depth() > 0) else {
            return;
        };
        if may_write(sql) && self.savepoints.writes() > cheap {
            self.cheap_subtransactions = None;
            (self.tell)(Noticed::Subtransactions(cheap));
        }
    }

    /// Learns what is new of the locks behind the last step. Those before led to it, and so are known; but to a lock that
    /// wasn't waited for, nothing leads.
    fn compare(&self, wanted: &Held) {
        let Some(graph) = &self.graph else { return };
        let mut last_step = None;
        for held in self.held.iter().rev().filter(|held| held.step != wanted.step) {
            if last_step.is_some_and(|step| step != held.step) {
                break;
            }
            if held.class == wanted.class {
                self.compare_keys(graph, held, wanted);
            } else if !graph.is_known(held.class, wanted.class) {
                self.tell(graph.learn(self.edge(held, wanted)));
            }
            if held.waited {
                last_step = Some(held.step);
            }
        }
    }

    fn compare_keys(&self, graph: &Graph, held: &Held, wanted: &Held) {
        let is_less = held.key < wanted.key;
        let direction = if is_less { Direction::Ascending } else { Direction::Descending };
        if !graph.is_known_direction(wanted.class, direction) {
            self.tell(graph.learn_direction(self.edge(held, wanted), direction));
        }
    }

    fn edge(&self, held: &Held, wanted: &Held) -> Edge {
        self.edge_between((held.class, held.place.clone()), (wanted.class, wanted.place.clone()))
    }

    fn edge_between(&self, held: (ClassId, Place), wanted: (ClassId, Place)) -> Edge {
        let (transaction, call) = (Arc::clone(&self.transaction), self.call);
        let witness = Witness::Seen { transaction, call, held: held.1, wanted: wanted.1 };
        Edge { from: held.0, to: wanted.0, witness }
    }

    fn tell(&self, inversion: Option<Arc<Inversion>>) {
        if let Some(inversion) = inversion {
            (self.tell)(Noticed::Inversion(&inversion));
        }
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
