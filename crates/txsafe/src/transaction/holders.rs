//! Which transactions hold the connections of a database's pool: noted for each attempt, and named in the error of an attempt
//! that waited for one in vain.

use super::{call::Call, progress::Progress, shared::Shared};
use crate::{
    dialect::{failure::Failure, holders::RunningTransaction},
    driver::session::{AsyncSession, AsyncSource, Session, SessionOptions, Source},
    guard::{
        code::Code,
        holding::{Holding, Stage},
        scope::Scope,
        second::began_with_one,
        takers::{taking, taking_blocking},
    },
};
use std::sync::Arc;

impl Call {
    /// Lists the call as taking a connection, for an attempt or to ask what became of a COMMIT.
    fn takes(&self) -> Holding {
        let Self { shared, named, place, on_held, .. } = self;
        shared.holdings.takes(&named.name, place, *on_held)
    }
}

/// Opens a session for a call, which is listed as taking a connection and, once it has one, as holding it.
pub(super) async fn open<C: AsyncSource>(
    call: &Call,
    source: &mut C,
    options: SessionOptions,
    stage: Stage,
) -> Result<C::Session, Failure> {
    let holding = call.takes();
    let mut session = taking(&holding, source.open(options)).await?;
    holding.got(session.connection(), stage);
    session.account().holds(holding);
    Ok(session)
}

/// The blocking twin of [`open`].
pub(super) fn open_blocking<C: Source>(
    call: &Call,
    source: &mut C,
    options: SessionOptions,
    stage: Stage,
) -> Result<C::Session, Failure> {
    let holding = call.takes();
    let mut session = taking_blocking(&holding, || source.open(options))?;
    holding.got(session.connection(), stage);
    session.account().holds(holding);
    Ok(session)
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
