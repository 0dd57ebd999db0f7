//! Who holds the connections of a database's pool: noted for each attempt, and told to whoever waited for one in vain.

use super::{progress::Progress, shared::Shared};
use crate::{
    dialect::{failure::Failure, holders::RunningTransaction},
    guard::{connection::Connection, holding::Holding},
};
use std::sync::Arc;

impl<H> Progress<H> {
    /// The attempt has got its connection.
    pub(super) fn hold(&self, connection: Arc<dyn Connection>) -> Holding {
        let call = &self.call;
        call.shared.holdings.hold(&call.named.name, call.place, call.on_held, connection)
    }

    /// The failure, with those who held the connections if that is what failed.
    pub(super) fn with_holders(&self, failure: Failure) -> Failure {
        let shared = &self.call.shared;
        match (failure.holders(), shared.pool.get()) {
            (Some(_), Some(pool)) => {
                let holders = shared.holdings.holders(pool.state().in_use());
                failure.with_holders(holders)
            }
            _ => failure,
        }
    }
}

impl Shared {
    /// The transactions that hold a connection now, the oldest first.
    pub(super) fn running(&self) -> Vec<RunningTransaction> {
        self.holdings.running()
    }
}
