//! The transaction as its closure sees it.

use crate::{driver::Driver, row::Row, wire::link::Link};
use diesel_async::AsyncPgConnection;
use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
};
use txsafe::{
    NoOrder, Unlocked,
    driver::{Account, AsyncHook},
};

/// A transaction that is running. Diesel's queries run on `&mut tx`.
///
/// It derefs to [`AsyncPgConnection`], so helpers that take `&mut AsyncPgConnection`, or `&AsyncPgConnection` to send
/// several queries at once, work as they are. Statements are observed on the connection's wire, through whichever
/// reference they were sent.
///
/// There is no `commit`: returning `Ok` from the closure commits, and returning `Err` rolls back.
///
/// `O` is the lock order of its database, and `Held` the highest rank that it may have locked; see
/// [`at`](Self::at). Where there is no order, write `Tx<'_>`.
#[must_use = "the transaction goes on through this value only"]
pub struct Tx<'c, O = NoOrder, Held = Unlocked> {
    conn: &'c mut AsyncPgConnection,
    account: &'c mut Account<AsyncHook>,
    link: &'c Link,
    rank: PhantomData<fn() -> (O, Held)>,
    // Invariant, as the evidence of its locks is: that of another transaction is none for this one.
    lives: PhantomData<fn(&'c ()) -> &'c ()>,
}

impl<'c, O, Held> Tx<'c, O, Held> {
    pub(crate) fn new(
        conn: &'c mut AsyncPgConnection,
        account: &'c mut Account<AsyncHook>,
        link: &'c Link,
    ) -> Self {
        Self { conn, account, link, rank: PhantomData, lives: PhantomData }
    }

    /// The same transaction, where another rank may be the highest that is held.
    pub(crate) fn with_rank<Other>(self) -> Tx<'c, O, Other> {
        Tx::new(self.conn, self.account, self.link)
    }

    pub(crate) fn parts(&mut self) -> (&mut AsyncPgConnection, &mut Account<AsyncHook>, &Link) {
        (self.conn, self.account, self.link)
    }
}

txsafe::__tx_methods!(async Tx on Driver reads Row);

impl<O, Held> Deref for Tx<'_, O, Held> {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        self.conn
    }
}

impl<O, Held> DerefMut for Tx<'_, O, Held> {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        self.conn
    }
}

impl<O, Held> fmt::Debug for Tx<'_, O, Held> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("transaction", &self.account.transaction).finish_non_exhaustive()
    }
}
