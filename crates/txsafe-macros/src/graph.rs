//! From chains to a relation: who comes before whom.

use crate::{Refused, parse::Order};
use std::collections::BTreeSet;

/// Who comes before whom, and one total order that agrees with it.
pub(crate) struct Relation {
    /// Neighbours in a chain.
    pub(crate) edges: BTreeSet<(usize, usize)>,
    /// `before[a][b]`: `a` comes before `b`.
    before: Vec<Vec<bool>>,
    /// Ranks in a total order.
    pub(crate) sorted: Vec<usize>,
}

impl Relation {
    pub(crate) fn of(order: &Order) -> Result<Self, Refused> {
        let n = order.ranks.len();
        let neighbours = order.chains.iter().flat_map(|chain| chain.windows(2));
        let edges: BTreeSet<_> = neighbours.map(|pair| (pair[0], pair[1])).collect();
        let mut before = vec![vec![false; n]; n];
        for &(a, b) in &edges {
            before[a][b] = true;
        }
        for middle in 0..n {
            for a in 0..n {
                for b in 0..n {
                    before[a][b] |= before[a][middle] && before[middle][b];
                }
            }
        }
        if let Some(a) = (0..n).find(|&a| before[a][a]) {
            let cycle = (0..n).filter(|&b| before[a][b] && before[b][a]);
            let names: Vec<_> = cycle.map(|b| format!("`{}`", order.ranks[b].text)).collect();
            let message = format!("lock order `{}` has a cycle: {}", order.name, names.join(", "));
            return Err(Refused::new(order.ranks[a].span, message));
        }
        // Who has fewer before it comes first; among equals, who was named first.
        let mut sorted: Vec<usize> = (0..n).collect();
        sorted.sort_by_key(|&b| (0..n).filter(|&a| before[a][b]).count());
        Ok(Self { edges, before, sorted })
    }

    pub(crate) fn is_before(&self, a: usize, b: usize) -> bool {
        self.before[a][b]
    }
}
