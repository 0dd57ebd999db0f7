//! Advisory locks, which have a rank like rows.
//!
//! Their futures are boxed, because the compiler repeats the errors of a type that names all its parameters at each use.

use crate::{driver::Driver, tx::Tx};
use futures_util::future::BoxFuture;
use std::panic::Location;
use txsafe::{AdvisoryRank, Error, LockOrder, Passed, Position, driver::lock};

impl<O: LockOrder, Held: 'static> Tx<'_, O, Held> {
    /// Takes an advisory lock of the current rank, waiting for it as for a row: at most the lock timeout, and deadlocks are
    /// found. It is given back when the transaction ends; there are none that outlive it.
    ///
    /// # Errors
    /// A lock of this rank with a greater id is held already, or this one as a shared one; what the server said.
    #[track_caller]
    pub fn advisory_lock(&mut self, key: Held::Key) -> BoxFuture<'_, Result<(), Error>>
    where
        Held: AdvisoryRank,
        O: Position<Held>,
    {
        let at = Location::caller();
        Box::pin(
            async move { lock::advisory::<Driver, O, Held, Held>(self, &[key], false, at).await },
        )
    }

    /// Takes an advisory lock of the current rank that others may share: those who want it for themselves wait.
    ///
    /// # Errors
    /// As for [`advisory_lock`](Self::advisory_lock).
    #[track_caller]
    pub fn advisory_lock_shared(&mut self, key: Held::Key) -> BoxFuture<'_, Result<(), Error>>
    where
        Held: AdvisoryRank,
        O: Position<Held>,
    {
        let at = Location::caller();
        Box::pin(
            async move { lock::advisory::<Driver, O, Held, Held>(self, &[key], true, at).await },
        )
    }

    /// Takes advisory locks of the current rank by one statement, in the order of their ids.
    ///
    /// # Errors
    /// As for [`advisory_lock`](Self::advisory_lock).
    #[track_caller]
    pub fn advisory_lock_many(&mut self, keys: &[Held::Key]) -> BoxFuture<'_, Result<(), Error>>
    where
        Held: AdvisoryRank,
        O: Position<Held>,
    {
        let (keys, at) = (keys.to_vec(), Location::caller());
        Box::pin(
            async move { lock::advisory::<Driver, O, Held, Held>(self, &keys, false, at).await },
        )
    }

    /// Takes an advisory lock of the current rank, or of one that was passed already, if nobody else holds it. It doesn't
    /// wait, so it may go back. Says whether it was taken.
    ///
    /// # Errors
    /// It is held as a shared one; what the server said.
    #[track_caller]
    pub fn try_advisory_lock<R>(&mut self, key: R::Key) -> BoxFuture<'_, Result<bool, Error>>
    where
        R: AdvisoryRank,
        O: Passed<Held, R>,
    {
        let at = Location::caller();
        Box::pin(
            async move { lock::try_advisory::<Driver, O, Held, R>(self, &key, false, at).await },
        )
    }

    /// The same for a lock that others may share.
    ///
    /// # Errors
    /// What the server said.
    #[track_caller]
    pub fn try_advisory_lock_shared<R>(&mut self, key: R::Key) -> BoxFuture<'_, Result<bool, Error>>
    where
        R: AdvisoryRank,
        O: Passed<Held, R>,
    {
        let at = Location::caller();
        Box::pin(
            async move { lock::try_advisory::<Driver, O, Held, R>(self, &key, true, at).await },
        )
    }
}
