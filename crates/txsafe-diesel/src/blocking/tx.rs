//! The transaction as its closure sees it.

use super::link::Link;
use diesel::PgConnection;
use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};
use txsafe::{
    NoOrder, Unlocked,
    driver::{Account, BlockingHook, HookResult, blocking_hook},
};

/// A transaction that is running. Diesel's queries run on `&mut *tx`.
///
/// It derefs to [`PgConnection`], so helpers that take `&mut PgConnection` work as they are. Statements are observed by
/// the connection's instrumentation, through whichever reference they were sent.
///
/// There is no `commit`: returning `Ok` from the closure commits, and returning `Err` rolls back.
///
/// `O` is the lock order of its database, and `Held` the highest rank that it may have locked; see
/// [`at`](Self::at). Where there is no order, write `Tx<'_>`.
#[must_use = "the transaction goes on through this value only"]
pub struct Tx<'c, O = NoOrder, Held = Unlocked> {
    conn: &'c mut PgConnection,
    account: &'c mut Account<BlockingHook>,
    link: &'c Link,
    rank: PhantomData<fn() -> (O, Held)>,
    // Invariant, as the evidence of its locks is: that of another transaction is none for this one.
    lives: PhantomData<fn(&'c ()) -> &'c ()>,
}

impl<'c, O, Held> Tx<'c, O, Held> {
    pub(crate) fn new(
        conn: &'c mut PgConnection,
        account: &'c mut Account<BlockingHook>,
        link: &'c Link,
    ) -> Self {
        Self { conn, account, link, rank: PhantomData, lives: PhantomData }
    }

    /// The same transaction, where another rank may be the highest that is held.
    pub(crate) fn with_rank<Other>(self) -> Tx<'c, O, Other> {
        Tx::new(self.conn, self.account, self.link)
    }

    pub(crate) fn parts(&mut self) -> (&mut PgConnection, &mut Account<BlockingHook>, &Link) {
        (self.conn, self.account, self.link)
    }

    /// Queues what is to happen once this attempt has committed: mail, calls to other services, cache updates.
    ///
    /// Hooks run in order, after the connection went back to its pool and before `transaction` returns. A hook that
    /// returns an error or panics is reported (an `error` event, the counter `txsafe_hook_failures_total`); it doesn't
    /// undo the commit or stop the next hook. If the attempt or the savepoint it was queued in is rolled back, it is
    /// dropped. If the answer to COMMIT is lost for good, it isn't run.
    ///
    /// The hook lives longer than the closure's borrows: give it clones.
    pub fn after_commit<R: HookResult>(&mut self, hook: impl FnOnce() -> R + Send + 'static) {
        self.account.hooks.push_after_commit(blocking_hook(hook));
    }

    /// Queues what is to happen once this attempt has been rolled back, like [`after_commit`](Self::after_commit).
    ///
    /// It runs for every attempt that queued it, those that are tried again included, and before the pause. Queued in a
    /// savepoint that is rolled back, it runs at the end of the attempt. If the closure panics, it isn't run.
    pub fn after_rollback<R: HookResult>(&mut self, hook: impl FnOnce() -> R + Send + 'static) {
        self.account.hooks.push_after_rollback(blocking_hook(hook));
    }
}

impl<O, Held> Deref for Tx<'_, O, Held> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.conn
    }
}

impl<O, Held> DerefMut for Tx<'_, O, Held> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.link.read_copy_to_its_end(self.conn);
        self.conn
    }
}

impl<O, Held> fmt::Debug for Tx<'_, O, Held> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("transaction", &self.account.transaction).finish_non_exhaustive()
    }
}
