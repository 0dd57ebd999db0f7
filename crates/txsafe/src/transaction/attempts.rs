//! Attempts at a transaction that is begun and committed by hand.

use super::{
    call::Callable, claim::CallKey, configured::Configured, database::Database, keyed::Keyed,
    owned_tx::OwnedTx, progress::Progress, returned::Returned,
};
use crate::{
    driver::{asynchronous::AsyncDriver, hooks::AsyncHook},
    error::Error,
    locks::relation::{LockOrder, NoOrder},
};
use std::{fmt, future::Future, ops::ControlFlow, panic::Location};

/// Attempts at a transaction that is begun and committed by hand, where a closure doesn't fit; made by [`Database::attempts`].
///
/// They keep the same bounds, pauses and lock timeouts as [`Database::transaction`]. An attempt that isn't handed to
/// [`finish`](Self::finish) ends the call: dropped, it is rolled back, and the next [`begin`](Self::begin) starts anew.
pub struct Attempts<'d, D: AsyncDriver, O: LockOrder = NoOrder> {
    db: Configured<'d, Database<D, O>>,
    key: Option<CallKey<'d>>,
    name: &'d str,
    place: &'static Location<'static>,
    /// Of the attempts so far, between two of them.
    progress: Option<Progress<AsyncHook>>,
}

impl<'d, D: AsyncDriver, O: LockOrder> Attempts<'d, D, O> {
    pub(super) fn new(
        db: Configured<'d, Database<D, O>>,
        key: Option<CallKey<'d>>,
        name: &'d str,
        place: &'static Location<'static>,
    ) -> Self {
        Self { db, key, name, place, progress: None }
    }

    /// Begins the next attempt.
    ///
    /// # Errors
    /// As for [`Database::begin`].
    pub async fn begin(&mut self) -> Result<OwnedTx<D, O>, Error> {
        self.next().await.map(Keyed::of_new)
    }

    async fn next(&mut self) -> Result<Keyed<OwnedTx<D, O>>, Error> {
        let progress = match self.progress.take() {
            Some(progress) => progress,
            None => {
                let call = self.db.call(self.name, self.place)?.by_hand()?;
                let call = self.db.db.outside_of_sandbox(call)?;
                Progress::start(match &self.key {
                    Some(key) => call.key(key.clone())?,
                    None => call,
                })?
            }
        };
        OwnedTx::next(progress, self.db.db.pool.clone()).await
    }

    /// Ends an attempt. It commits if `result` is `Ok`, and rolls back if it is `Err`. After `Tx::set_rollback_only`, or with
    /// [`TxOptions::dry_run`](crate::TxOptions::dry_run), it rolls back and still returns `Break(Ok(value))`;
    /// [`OwnedTx::commit`] returns [`ErrorKind::RollbackOnly`](crate::ErrorKind::RollbackOnly) after `set_rollback_only`.
    ///
    /// Returns `Break` with what the caller gets, or `Continue` when another attempt is to begin, after its pause. What
    /// `result` was is forgotten then. A transaction of somebody else's is ended, and never followed by another one.
    ///
    /// # Panics
    /// As [`OwnedTx::commit`].
    #[track_caller]
    pub fn finish<T: Send, E: From<Error> + Send>(
        &mut self,
        tx: OwnedTx<D, O>,
        result: Result<T, E>,
    ) -> impl Future<Output = ControlFlow<Result<T, E>>> + Send {
        let mut open = tx.into_open_at(Location::caller());
        let is_own = open.progress.is_of(self.db.db.shared(), self.name, self.key.as_ref());
        open.progress.course.once |= !is_own;
        let mut returned = Returned::nothing();
        let end = open.end(returned.keep(result), None);
        async move {
            let (progress, ending) = end.await;
            match ending {
                ControlFlow::Break(ended) => {
                    ControlFlow::Break(returned.of(ended).map(Keyed::of_new))
                }
                ControlFlow::Continue(pause) => {
                    drop(returned);
                    // Before the pause: whoever drops it keeps the bounds.
                    self.progress = Some(progress);
                    if let Some(pause) = pause {
                        D::sleep(pause).await;
                    }
                    ControlFlow::Continue(())
                }
            }
        }
    }
}

/// Attempts like [`Attempts`], of a transaction that commits at most once per key; made by
/// [`WithKey::attempts`](crate::WithKey::attempts).
#[derive(Debug)]
pub struct KeyedAttempts<'d, D: AsyncDriver, O: LockOrder = NoOrder>(pub(super) Attempts<'d, D, O>);

impl<D: AsyncDriver, O: LockOrder> KeyedAttempts<'_, D, O> {
    /// Begins the next attempt; [`Keyed::AlreadyCommitted`] if an earlier call with this key has committed.
    ///
    /// # Errors
    /// As [`Database::begin`]; and a key that is empty, longer than 512 bytes, or can't be written because its table is missing.
    pub async fn begin(&mut self) -> Result<Keyed<OwnedTx<D, O>>, Error> {
        self.0.next().await
    }

    /// Ends an attempt; see [`Attempts::finish`]. If the answer to COMMIT is lost, it looks for the key, which counts as an
    /// attempt.
    ///
    /// # Panics
    /// As there.
    #[track_caller]
    pub fn finish<T: Send, E: From<Error> + Send>(
        &mut self,
        tx: OwnedTx<D, O>,
        result: Result<T, E>,
    ) -> impl Future<Output = ControlFlow<Result<T, E>>> + Send {
        self.0.finish(tx, result)
    }
}

impl<D: AsyncDriver, O: LockOrder> fmt::Debug for Attempts<'_, D, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attempts({:?} at {})", self.name, self.place)
    }
}
