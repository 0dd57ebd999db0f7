//! Instrumentation of blocking connections.

use super::link::Link;
use crate::observer::{Instrumented, Observer};
use diesel::{Connection, PgConnection, connection::Instrumentation};

/// Adds an instrumentation to a connection, which txsafe's is then chained to; it takes the place of the one that was
/// added before, and of Diesel's default.
///
/// Use it in place of `set_instrumentation`, such as in the `on_acquire` of an r2d2 `CustomizeConnection`. Diesel lets
/// nobody take over what was set by that, so a transaction on such a connection fails before it begins. Set inside of a
/// transaction, it leaves the transaction without its trail and a failed statement without its code, and the guard takes
/// statements for other waits; what was swallowed is still found by COMMIT.
pub fn chain_instrumentation(conn: &mut PgConnection, next: impl Instrumentation) {
    Observer::chain(conn, next, Link::default);
}

impl Instrumented for PgConnection {
    const CHAIN: &'static str = "txsafe_diesel::blocking::chain_instrumentation";

    fn present(&mut self) -> &mut dyn Instrumentation {
        self.instrumentation()
    }

    fn put(&mut self, instrumentation: impl Instrumentation) {
        self.set_instrumentation(instrumentation);
    }
}
