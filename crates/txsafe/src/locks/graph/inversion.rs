//! An inversion: locks that were taken in an order which, together with others, can close a cycle of waits.

use super::edges::Edge;
use std::{fmt, panic::Location, sync::Arc};

/// Locks that were wanted in an order which, together with others, can close a cycle of waits.
///
/// Nothing deadlocked. But transactions that do what these did, at the same time, can.
#[derive(Debug)]
pub struct Inversion {
    now: Edge,
    /// From what was wanted now to what was held now.
    before: Vec<Edge>,
    is_of_keys: bool,
}

/// Who was seen to lock so.
#[derive(Debug, Clone)]
pub(crate) enum Witness {
    /// A transaction.
    Seen {
        transaction: Arc<str>,
        /// Where it was called, if it was seen from inside.
        call: Option<&'static Location<'static>>,
        held: Place,
        wanted: Place,
    },
    /// A declared order, by its name.
    Declared(&'static str),
}

/// What wanted a lock.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Code(&'static Location<'static>),
    Sql(Arc<str>),
}

impl Inversion {
    pub(super) fn of_classes(now: Edge, before: Vec<Edge>) -> Self {
        Self { now, before, is_of_keys: false }
    }

    pub(super) fn of_keys(now: Edge, before: Edge) -> Self {
        Self { now, before: vec![before], is_of_keys: true }
    }

    pub(super) fn edges(&self) -> impl Iterator<Item = &Edge> {
        std::iter::once(&self.now).chain(&self.before)
    }

    /// What was held, and what was wanted: tables, or ranks with what they stand for, such as `Import (advisory 42)`. They
    /// are the same where keys of one table were locked in both directions.
    #[must_use]
    pub fn classes(&self) -> (Arc<str>, Arc<str>) {
        (self.now.from.name(), self.now.to.name())
    }

    /// The names of the transactions that were seen, the last one first, each once.
    #[must_use]
    pub fn transactions(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        for edge in self.edges() {
            if let Witness::Seen { transaction, .. } = &edge.witness
                && !names.contains(transaction)
            {
                names.push(Arc::clone(transaction));
            }
        }
        names
    }
}

impl fmt::Display for Inversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = self.classes();
        if self.is_of_keys {
            write!(
                f,
                "lock order inversion within `{to}`: keys were locked in ascending and in descending order, and two such \
                 transactions can wait for each other; sort the keys"
            )?;
        } else {
            write!(
                f,
                "lock order inversion: `{to}` was wanted while `{from}` was held, against an order known before, and two \
                 such transactions can wait for each other; lock `{to}` first in one of them"
            )?;
        }
        write!(f, "\n  now:      {}", self.now)?;
        for edge in &self.before {
            let when = match edge.witness {
                Witness::Seen { .. } => "earlier: ",
                Witness::Declared(_) => "declared:",
            };
            write!(f, "\n  {when} {edge}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.name(), self.to.name());
        match &self.witness {
            Witness::Seen { transaction, call, held, wanted } => {
                write!(f, "transaction \"{transaction}\"")?;
                if let Some(call) = call {
                    write!(f, " ({call})")?;
                }
                write!(f, ": `{from}` ({held}), then `{to}` ({wanted})")
            }
            Witness::Declared(order) => write!(f, "lock order `{order}`: `{from}` before `{to}`"),
        }
    }
}

/// Longer SQL is cut here, in characters.
const SQL_CHARS: usize = 200;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(location) => location.fmt(f),
            Self::Sql(sql) => match sql.char_indices().nth(SQL_CHARS) {
                None => write!(f, "by `{sql}`"),
                Some((end, _)) => write!(f, "by `{}…`", &sql[..end]),
            },
        }
    }
}
