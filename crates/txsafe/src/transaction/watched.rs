//! Transactions that are watched from outside, by a test kit.

use crate::{
    guard::noticed::noticed,
    locks::graph::{edges::LockGraph, log::LockLog},
};

impl LockGraph {
    /// For test kits: the log of a transaction that is watched from outside. That it is noted from inside, too, does no
    /// harm: the two agree.
    ///
    /// # Examples
    /// ```
    /// use txsafe::{LockGraph, driver::HeldTable};
    ///
    /// let graph = LockGraph::new();
    /// let orders = HeldTable::new("orders", true);
    /// let users = HeldTable::new("users", true);
    ///
    /// let ship = graph.watch("ship");
    /// ship.holds("UPDATE orders …", &[orders]);
    /// ship.holds("INSERT INTO shipments …", &[orders, users]);
    /// graph.assert_no_inversions();
    ///
    /// let rename = graph.watch("rename");
    /// rename.holds("UPDATE users …", &[users]);
    /// rename.holds("UPDATE orders …", &[users, orders]);
    /// assert_eq!(graph.inversions()[0].classes(), ("users".into(), "orders".into()));
    /// ```
    #[must_use]
    pub fn watch(&self, transaction: &str) -> LockLog {
        LockLog::new(self, &transaction.into(), None, noticed)
    }
}
