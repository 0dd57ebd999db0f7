//! Instrumentation of connections of diesel-async.

use crate::{
    observer::{Instrumented, Observer},
    wire::link::Link,
};
use diesel::connection::Instrumentation;
use diesel_async::{AsyncConnection, AsyncPgConnection};

/// Adds an instrumentation to a connection, which txsafe's is then chained to; it takes the place of the one that was
/// added before, and of Diesel's default.
///
/// Use it in place of `set_instrumentation`. Diesel lets nobody take over what was set by that, so a transaction on such a
/// connection fails before it begins. Set inside of a transaction, it leaves the transaction without the names of its
/// statements; what failed is still read off the wire, or found by COMMIT on a connection that was made elsewhere.
pub fn chain_instrumentation(conn: &mut AsyncPgConnection, next: impl Instrumentation) {
    Observer::chain(conn, next, Link::off_wire);
}

impl Instrumented for AsyncPgConnection {
    const CHAIN: &'static str = "txsafe_diesel::chain_instrumentation";

    fn present(&mut self) -> &mut dyn Instrumentation {
        self.instrumentation()
    }

    fn put(&mut self, instrumentation: impl Instrumentation) {
        self.set_instrumentation(instrumentation);
    }
}
