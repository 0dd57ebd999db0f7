//! The graph itself: what was held when what was wanted.

#[cfg(feature = "sql")]
use super::plain::Statements;
use super::{
    class::{ClassId, MOST_CLASSES},
    inversion::{Inversion, Witness},
    observed::ObservedOrder,
};
use crate::{clock::excused::lock, locks::relation::Neighbours};
use std::{
    fmt,
    panic::Location,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
};

/// The order in which transactions really lock, learned while they run.
///
/// A database has the process's own graph, [`global`](Self::global), unless its builder is given another one by
/// [`lock_graph`](crate::Builder::lock_graph). Clones are the same graph.
///
/// What it notices is an event of `tracing` (`WARN`, once for each inversion), counted by
/// `txsafe_lock_inversions_total`, and kept here.
///
/// It knows tables by their names: databases that have tables of the same names and lock them in other orders need
/// graphs of their own.
#[derive(Clone)]
pub struct LockGraph(Option<Arc<Graph>>);

pub(crate) struct Graph {
    /// A bit for each pair of classes: whether the edge is known. Read without a lock.
    known: Box<[AtomicU64]>,
    /// For each class: whether its keys were seen to ascend (1), and to descend (2).
    directions: Box<[AtomicU8]>,
    learned: Mutex<Learned>,
    #[cfg(feature = "sql")]
    pub(super) statements: Statements,
}

/// What is only looked at when something new is learned.
#[derive(Default)]
struct Learned {
    /// By the class that was held. There is no cycle among them.
    edges: Vec<Vec<Edge>>,
    /// For each class, the first pair of its keys that was seen.
    keys: Vec<Edge>,
    inversions: Vec<Arc<Inversion>>,
}

/// `to` was wanted while `from` was held.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) from: ClassId,
    pub(crate) to: ClassId,
    pub(crate) witness: Witness,
}

/// How a key compares to the one that was locked before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending = 1,
    Descending = 2,
}

const WORDS_PER_CLASS: usize = MOST_CLASSES / 64;

impl LockGraph {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self(Some(Arc::new(Graph::new())))
    }

    /// The graph of the process, which all databases share that weren't given another one.
    #[must_use]
    pub fn global() -> Self {
        static GLOBAL: LazyLock<LockGraph> = LazyLock::new(LockGraph::new);
        GLOBAL.clone()
    }

    /// No graph: nothing is noted.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    pub(crate) fn graph(&self) -> Option<&Arc<Graph>> {
        self.0.as_ref()
    }

    /// The inversions that were noticed, in the order in which they were.
    #[must_use]
    pub fn inversions(&self) -> Vec<Arc<Inversion>> {
        self.0.as_ref().map(|graph| graph.learned().inversions.clone()).unwrap_or_default()
    }

    /// Where a transaction is called, if it was seen to lock.
    pub(crate) fn place_of(&self, transaction: &str) -> Option<&'static Location<'static>> {
        let learned = self.0.as_ref()?.learned();
        let place = |edge: &Edge| match &edge.witness {
            Witness::Seen { transaction: name, call, .. } if **name == *transaction => *call,
            Witness::Seen { .. } | Witness::Declared(_) => None,
        };
        let inverted = learned.inversions.iter().flat_map(|inversion| inversion.edges());
        learned.edges.iter().flatten().chain(inverted).find_map(place)
    }

    /// An inversion between two transactions.
    pub(crate) fn inversion_of(&self, one: &str, other: &str) -> Option<Arc<Inversion>> {
        self.inversions().into_iter().find(|inversion| {
            let names = inversion.transactions();
            [one, other].iter().all(|name| names.iter().any(|known| **known == **name))
        })
    }

    /// For the end of a test suite: fails if any inversion was noticed, and tells them all.
    ///
    /// # Panics
    /// If one was.
    #[track_caller]
    pub fn assert_no_inversions(&self) {
        let inversions = self.inversions();
        let told: Vec<_> = inversions.iter().map(ToString::to_string).collect();
        assert!(told.is_empty(), "{} lock order inversion(s):\n{}", told.len(), told.join("\n"));
    }

    /// The order that was observed so far, with the declared ones, as texts to look at.
    #[must_use]
    pub fn observed_order(&self) -> ObservedOrder {
        let Some(graph) = &self.0 else { return ObservedOrder::default() };
        let learned = graph.learned();
        let edges = learned.edges.iter().flatten().cloned().collect();
        ObservedOrder::of(edges, learned.inversions.clone())
    }
}

impl Default for LockGraph {
    /// The graph of the process.
    fn default() -> Self {
        Self::global()
    }
}

impl Graph {
    fn new() -> Self {
        Self {
            known: (0..MOST_CLASSES * WORDS_PER_CLASS).map(|_| AtomicU64::new(0)).collect(),
            directions: (0..MOST_CLASSES).map(|_| AtomicU8::new(0)).collect(),
            learned: Mutex::default(),
            #[cfg(feature = "sql")]
            statements: Statements::default(),
        }
    }

    /// Adds the neighbours of a declared order.
    pub(crate) fn declare(
        &self,
        order: &'static str,
        neighbours: &[Neighbours],
    ) -> Vec<Arc<Inversion>> {
        let edge = |(from, to): &Neighbours| {
            let witness = Witness::Declared(order);
            Some(Edge { from: from().id()?, to: to().id()?, witness })
        };
        neighbours.iter().filter_map(edge).filter_map(|edge| self.learn(edge)).collect()
    }

    /// Whether it is known that `to` was wanted while `from` was held.
    pub(crate) fn is_known(&self, from: ClassId, to: ClassId) -> bool {
        let (word, bit) = bit_of(from, to);
        self.known[word].load(Relaxed) & bit != 0
    }

    /// Adds an edge; the inversion that it makes, if it closes a cycle. It isn't added then: what agrees with the order
    /// that was there first is no inversion of its own.
    #[cold]
    pub(crate) fn learn(&self, edge: Edge) -> Option<Arc<Inversion>> {
        let mut learned = self.learned();
        let (word, bit) = bit_of(edge.from, edge.to);
        if self.known[word].fetch_or(bit, Relaxed) & bit != 0 {
            return None;
        }
        match learned.path(edge.to, edge.from) {
            None => {
                let held = edge.from.index();
                if learned.edges.len() <= held {
                    learned.edges.resize_with(held + 1, Vec::new);
                }
                learned.edges[held].push(edge);
                None
            }
            Some(path) => Some(learned.invert(Inversion::of_classes(edge, path))),
        }
    }

    /// Whether keys of a class are known to go in this direction.
    pub(crate) fn is_known_direction(&self, class: ClassId, direction: Direction) -> bool {
        self.directions[class.index()].load(Relaxed) & direction as u8 != 0
    }

    /// Notes a pair of keys of one class; the inversion that it makes, if others went the other way.
    #[cold]
    pub(crate) fn learn_direction(
        &self,
        edge: Edge,
        direction: Direction,
    ) -> Option<Arc<Inversion>> {
        let mut learned = self.learned();
        let known = self.directions[edge.to.index()].fetch_or(direction as u8, Relaxed);
        if known & direction as u8 != 0 {
            return None;
        }
        let before = learned.keys.iter().find(|before| before.to == edge.to).cloned();
        if before.is_none() {
            learned.keys.push(edge.clone());
        }
        before.map(|before| learned.invert(Inversion::of_keys(edge, before)))
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        // Nothing that could panic leaves it half written.
        lock(&self.learned)
    }
}

impl Learned {
    fn invert(&mut self, inversion: Inversion) -> Arc<Inversion> {
        let inversion = Arc::new(inversion);
        self.inversions.push(Arc::clone(&inversion));
        inversion
    }

    /// The edges that lead from one class to another, if some do.
    fn path(&self, from: ClassId, to: ClassId) -> Option<Vec<Edge>> {
        let mut reached_by: Vec<Option<&Edge>> = vec![None; MOST_CLASSES];
        let mut at = vec![from];
        while let Some(class) = at.pop() {
            if class == to {
                return Some(walked(from, to, &reached_by));
            }
            for edge in self.edges.get(class.index()).into_iter().flatten() {
                let reached = &mut reached_by[edge.to.index()];
                if reached.is_none() && edge.to != from {
                    *reached = Some(edge);
                    at.push(edge.to);
                }
            }
        }
        None
    }
}

/// The way back from `to`, in its own direction.
fn walked(from: ClassId, to: ClassId, reached_by: &[Option<&Edge>]) -> Vec<Edge> {
    let mut path = Vec::new();
    let mut class = to;
    while class != from
        && let Some(edge) = reached_by[class.index()]
    {
        path.push(edge.clone());
        class = edge.from;
    }
    path.reverse();
    path
}

fn bit_of(from: ClassId, to: ClassId) -> (usize, u64) {
    (from.index() * WORDS_PER_CLASS + to.index() / 64, 1 << (to.index() % 64))
}

impl fmt::Debug for LockGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("LockGraph::off()"),
            Some(graph) => {
                let learned = graph.learned();
                f.debug_struct("LockGraph")
                    .field("edges", &learned.edges.iter().map(Vec::len).sum::<usize>())
                    .field("inversions", &learned.inversions.len())
                    .finish()
            }
        }
    }
}
