//! Which transactions hold the connections of a database's pool: noted for each attempt, and named in the error of an attempt
//! that waited for one in vain.

use super::{call::Call, progress::Progress, shared::Shared};
use crate::{
    dialect::{failure::Failure, holders::RunningTransaction},
    guard::{code::Code, holding::Holding, scope::Scope, second::began_with_one},
};
use std::sync::Arc;

impl Call {
    /// An attempt is about to take a connection, or the question what became of a COMMIT is.
    pub(super) fn takes(&self) -> Holding {
        let Self { shared, named, place, on_held, .. } = self;
        shared.holdings.takes(&named.name, place, *on_held)
    }
}

impl<H> Progress<H> {
    /// Reports a connection that the code that runs holds beside the one that the attempt has got.
    pub(super) fn look_for_held(&self, scope: &Arc<Scope>) {
        let Call { shared, on_held, .. } = &self.call;
        if *on_held || !shared.guard.sees(Code::SecondConnection) {
            return;
        }
        let pool = shared.pool.get();
        let held = pool.and_then(|pool| shared.holdings.held_by_me(pool.as_ref()));
        if let Some((taken, pool)) = held {
            began_with_one(scope, &taken, pool);
        }
    }

    /// The failure, with the transactions and the other code that held the connections if that is what failed.
    pub(super) fn with_holders(&self, failure: Failure) -> Failure {
        let shared = &self.call.shared;
        match (failure.holders(), shared.pool.get()) {
            (Some(_), Some(pool)) => {
                let holders = shared.holdings.holders(pool.as_ref());
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
