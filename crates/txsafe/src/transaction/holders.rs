//! Who holds the connections of a database's pool: noted for each attempt, and told to whoever waited for one in vain.

use super::{call::Call, progress::Progress, shared::Shared};
use crate::{
    dialect::{failure::Failure, holders::RunningTransaction},
    guard::{connection::Connection, holding::Holding, scope::Scope, second::began_with_one},
};
use std::sync::Arc;

impl<H> Progress<H> {
    /// The attempt has got its connection.
    pub(super) fn hold(&self, connection: Arc<dyn Connection>) -> Holding {
        let call = &self.call;
        call.shared.holdings.hold(&call.named.name, call.place, call.on_held, connection)
    }

    /// Tells of a connection that the code that runs holds beside the one that the attempt has got.
    pub(super) fn look_for_held(&self, scope: &Arc<Scope>) {
        let Call { shared, on_held, .. } = &self.call;
        let pool = shared.pool.get().filter(|_| !on_held);
        let held = pool.and_then(|pool| shared.holdings.held_by_me(pool.as_ref()));
        if let Some((taken, pool)) = held {
            began_with_one(scope, &taken, pool);
        }
    }

    /// The failure, with those who held the connections if that is what failed.
    pub(super) fn with_holders(&self, failure: Failure) -> Failure {
        let shared = &self.call.shared;
        match (failure.holders(), shared.pool.get()) {
            (Some(_), Some(pool)) => {
                let holders = shared.holdings.holders(pool.state());
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
