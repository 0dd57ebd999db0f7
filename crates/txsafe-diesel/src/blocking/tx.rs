//! The transaction as its closure sees it.

use super::{driver::Driver, link::Link, pool::R2d2Pool, session::Session};
use crate::row::Row;
use diesel::PgConnection;
use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::Arc,
};
use txsafe::{
    NoOrder, Unlocked,
    driver::{self, BlockingHook, TxSession},
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
    session: Of<'c>,
    rank: PhantomData<fn() -> (O, Held)>,
    // Invariant, as the evidence of its locks is: that of another transaction is none for this one.
    lives: PhantomData<fn(&'c ()) -> &'c ()>,
}

/// What it works with.
pub(crate) type Parts<'c> = driver::Parts<'c, PgConnection, BlockingHook, Arc<Link>>;

type Of<'c> = TxSession<'c, PgConnection, BlockingHook, Arc<Link>, Session<'static, R2d2Pool>>;

txsafe::__tx_of_session!(Tx of Of, Parts, BlockingHook, Session<'static, R2d2Pool>);
txsafe::__tx_methods!(blocking Tx on Driver reads Row);
txsafe::__transact!(Tx on Driver by BlockingTransact);

impl<O, Held> Deref for Tx<'_, O, Held> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.session.connection()
    }
}

impl<O, Held> DerefMut for Tx<'_, O, Held> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        let Parts { conn, seen, .. } = self.parts();
        seen.read_copy_to_its_end(conn);
        conn
    }
}
