//! What transactions that are begun and ended by hand have in common, be they async or blocking.

use super::{claim::CallKey, keyed::Keyed, progress::Progress, returned::RunError, shared::Shared};
use crate::{
    driver::session::CallersError,
    error::{Error, ErrorKind, outcome::Outcome, trail::Trail},
    guard::{by_hand::ByHand, scope::Scope},
};
use std::{ops::ControlFlow, panic::Location, sync::Arc, time::Duration};

/// How an attempt has ended: the end of the transaction, or the pause before the next attempt, if there is one.
pub(super) type Ending = ControlFlow<Result<Keyed<()>, RunError>, Option<Duration>>;

impl<H> Progress<H> {
    /// The transaction was begun by hand; from here on its caller runs.
    pub(super) fn leave_to_caller(&mut self, scope: Arc<Scope>) {
        self.inside = None;
        self.by_hand = Some(ByHand::new(scope));
    }

    /// Its caller uses it at this place.
    pub(super) fn used(&self, at: &'static Location<'static>) {
        if let Some(by_hand) = &self.by_hand {
            by_hand.used(at);
        }
    }

    /// It is ended at this place: by its caller, or by a library for its caller.
    pub(super) fn ends(&self, at: &'static Location<'static>) {
        match &self.by_hand {
            Some(by_hand) if self.call.by_library => by_hand.ended_by_library(),
            Some(by_hand) => by_hand.used(at),
            None => {}
        }
    }

    /// Whether it is a transaction of this call.
    pub(super) fn is_of(
        &self,
        shared: &Arc<Shared>,
        name: &str,
        key: Option<&CallKey<'_>>,
    ) -> bool {
        let call = &self.call;
        Arc::ptr_eq(&call.shared, shared) && *call.named.name == *name && call.key.as_ref() == key
    }

    /// What its caller gets, who asked for COMMIT (`Ok`) or ROLLBACK (`Err`), when no attempt can follow.
    pub(super) fn ended_by_hand(
        &self,
        asked: Result<(), CallersError>,
        ending: Ending,
    ) -> Result<(), Error> {
        match ending {
            ControlFlow::Break(Ok(_)) => Ok(()),
            ControlFlow::Break(Err(RunError::Ours(error))) => Err(error),
            ControlFlow::Break(Err(RunError::Callers)) => self.rolled_back_by_hand(asked),
            ControlFlow::Continue(_) => unreachable!("nothing of it is run again"),
        }
    }

    fn rolled_back_by_hand(&self, asked: Result<(), CallersError>) -> Result<(), Error> {
        if asked.is_err() || self.call.settings.dry_run {
            return Ok(());
        }
        let report = self.report(Outcome::RolledBack, None, Trail::default());
        let failure = self.failures.last().map(|attempt| attempt.failure.clone());
        Err(Error::new(ErrorKind::RollbackOnly, failure, Some(report)))
    }
}
