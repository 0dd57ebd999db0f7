//! Attempts at a transaction that is begun and committed by hand, on blocking connections.

use super::{database::BlockingDatabase, owned_tx::BlockingOwnedTx};
use crate::{
    driver::{blocking::OnThisThread, hooks::BlockingHook},
    error::Error,
    locks::relation::{LockOrder, NoOrder},
    transaction::{
        call::Callable, claim::CallKey, configured::Configured, keyed::Keyed, progress::Progress,
        returned::Returned,
    },
};
use std::{fmt, ops::ControlFlow, panic::Location, thread};

/// Attempts at a transaction that is begun and committed by hand: the blocking twin of [`Attempts`](crate::Attempts).
pub struct BlockingAttempts<'d, D: OnThisThread, O: LockOrder = NoOrder> {
    db: Configured<'d, BlockingDatabase<D, O>>,
    key: Option<CallKey<'d>>,
    name: &'d str,
    place: &'static Location<'static>,
    /// Of the attempts so far, between two of them.
    progress: Option<Progress<BlockingHook>>,
}

impl<'d, D: OnThisThread, O: LockOrder> BlockingAttempts<'d, D, O> {
    pub(super) fn new(
        db: Configured<'d, BlockingDatabase<D, O>>,
        key: Option<CallKey<'d>>,
        name: &'d str,
        place: &'static Location<'static>,
    ) -> Self {
        Self { db, key, name, place, progress: None }
    }

    /// Begins the next attempt.
    ///
    /// # Errors
    /// As [`BlockingDatabase::begin`].
    pub fn begin(&mut self) -> Result<BlockingOwnedTx<D, O>, Error> {
        self.next().map(Keyed::of_new)
    }

    fn next(&mut self) -> Result<Keyed<BlockingOwnedTx<D, O>>, Error> {
        let progress = match self.progress.take() {
            Some(progress) => progress,
            None => {
                let call = self.db.call(self.name, self.place)?.by_hand()?;
                Progress::start(match &self.key {
                    Some(key) => call.key(key.clone())?,
                    None => call,
                })?
            }
        };
        BlockingOwnedTx::next(progress, self.db.db)
    }

    /// Ends an attempt; see [`Attempts::finish`](crate::Attempts::finish).
    ///
    /// # Panics
    /// As there.
    #[track_caller]
    pub fn finish<T, E: From<Error>>(
        &mut self,
        tx: BlockingOwnedTx<D, O>,
        result: Result<T, E>,
    ) -> ControlFlow<Result<T, E>> {
        let mut open = tx.into_open_at(Location::caller());
        let is_own = open.progress.is_of(self.db.db.shared(), self.name, self.key.as_ref());
        open.progress.course.once |= !is_own;
        let mut returned = Returned::nothing();
        let (progress, ending) = open.end(returned.keep(result));
        match ending {
            ControlFlow::Break(ended) => ControlFlow::Break(returned.of(ended).map(Keyed::of_new)),
            ControlFlow::Continue(pause) => {
                drop(returned);
                thread::sleep(pause.unwrap_or_default());
                self.progress = Some(progress);
                ControlFlow::Continue(())
            }
        }
    }
}

/// Attempts like [`BlockingAttempts`], of a transaction that commits at most once per key; made by
/// [`WithKey::attempts`](crate::WithKey::attempts).
#[derive(Debug)]
pub struct BlockingKeyedAttempts<'d, D: OnThisThread, O: LockOrder = NoOrder>(
    pub(super) BlockingAttempts<'d, D, O>,
);

impl<D: OnThisThread, O: LockOrder> BlockingKeyedAttempts<'_, D, O> {
    /// Begins the next attempt; [`Keyed::AlreadyCommitted`] if an earlier call with this key has committed.
    ///
    /// # Errors
    /// As [`BlockingDatabase::begin`]; and a key that is empty, longer than 512 bytes, or can't be written because its table is missing.
    pub fn begin(&mut self) -> Result<Keyed<BlockingOwnedTx<D, O>>, Error> {
        self.0.next()
    }

    /// Ends an attempt; see [`BlockingAttempts::finish`]. If the answer to COMMIT is lost, it looks for the key.
    ///
    /// # Panics
    /// As there.
    #[track_caller]
    pub fn finish<T, E: From<Error>>(
        &mut self,
        tx: BlockingOwnedTx<D, O>,
        result: Result<T, E>,
    ) -> ControlFlow<Result<T, E>> {
        self.0.finish(tx, result)
    }
}

impl<D: OnThisThread, O: LockOrder> fmt::Debug for BlockingAttempts<'_, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockingAttempts({:?} at {})", self.name, self.place)
    }
}
