//! Rows that are locked, as evidence.

use super::mode::NoKeyUpdate;
use std::{fmt, marker::PhantomData, ops::Deref};

/// A row, and the evidence that this transaction holds its lock.
///
/// It lives no longer than the transaction, or the savepoint, that took the lock. The row is as it was read; this
/// transaction may have changed it since.
pub struct Locked<'c, T, M = NoKeyUpdate> {
    row: T,
    // Invariant: evidence of one transaction is none for another.
    lives: PhantomData<fn(&'c ()) -> &'c ()>,
    mode: PhantomData<fn() -> M>,
}

impl<T, M> Locked<'_, T, M> {
    /// For adapters: a row that was just locked.
    pub fn new(row: T) -> Self {
        Self { row, lives: PhantomData, mode: PhantomData }
    }

    /// The row without the evidence.
    pub fn into_row(self) -> T {
        self.row
    }
}

impl<T, M> Deref for Locked<'_, T, M> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.row
    }
}

impl<T: fmt::Debug, M> fmt::Debug for Locked<'_, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Locked").field(&self.row).finish()
    }
}
