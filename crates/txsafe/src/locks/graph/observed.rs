//! The observed order as texts to look at.

use super::{
    edges::Edge,
    inversion::{Inversion, Witness},
};
use std::{collections::BTreeSet, fmt::Write, sync::Arc};

/// The order that was observed, and those that were declared, as a graph of tables, advisory locks and sequences.
#[derive(Debug, Clone, Default)]
pub struct ObservedOrder(BTreeSet<Line>);

/// An edge of the drawing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    from: Arc<str>,
    to: Arc<str>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Declared,
    Observed,
    Inversion,
}

impl ObservedOrder {
    pub(super) fn of(edges: Vec<Edge>, inversions: Vec<Arc<Inversion>>) -> Self {
        let line = |edge: Edge| {
            let kind = match edge.witness {
                Witness::Declared(_) => Kind::Declared,
                Witness::Seen { .. } => Kind::Observed,
            };
            Line { from: edge.from.name(), to: edge.to.name(), kind }
        };
        let inverted = inversions.iter().map(|inversion| {
            let (from, to) = inversion.classes();
            Line { from, to, kind: Kind::Inversion }
        });
        Self(edges.into_iter().map(line).chain(inverted).collect())
    }

    /// As a Mermaid flowchart: what was declared is drawn solid, what was observed dotted, inversions thick.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let nodes: BTreeSet<_> = self.0.iter().flat_map(|line| [&line.from, &line.to]).collect();
        let id = |name: &Arc<str>| nodes.iter().position(|node| *node == name).unwrap_or_default();
        let mut chart = String::from("flowchart TD\n");
        for node in &nodes {
            // Writing to a String can't fail.
            let _ = writeln!(chart, "  n{}[\"{}\"]", id(node), node.replace('"', "#quot;"));
        }
        for Line { from, to, kind } in &self.0 {
            let arrow = match kind {
                Kind::Declared => "-->",
                Kind::Observed => "-.->",
                Kind::Inversion => "== inversion ==>",
            };
            let _ = writeln!(chart, "  n{} {arrow} n{}", id(from), id(to));
        }
        chart
    }

    /// As a Graphviz digraph: what was declared is drawn solid, what was observed dashed, inversions red.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut graph = String::from("digraph observed {\n");
        for Line { from, to, kind } in &self.0 {
            let style = match kind {
                Kind::Declared => "",
                Kind::Observed => " [style=dashed]",
                Kind::Inversion => " [color=red, label=\"inversion\"]",
            };
            let _ = writeln!(graph, "  {from:?} -> {to:?}{style};");
        }
        graph + "}\n"
    }
}
