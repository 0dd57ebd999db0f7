//! The transaction as its closure sees it.

use crate::{driver::Driver, row::Row, session::Session, wire::link::Link};
use diesel_async::AsyncPgConnection;
use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::Arc,
};
use txsafe::{
    NoOrder, Unlocked,
    driver::{self, AsyncHook, TxSession},
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
    session: Of<'c>,
    rank: PhantomData<fn() -> (O, Held)>,
    // Invariant, as the evidence of its locks is: that of another transaction is none for this one.
    lives: PhantomData<fn(&'c ()) -> &'c ()>,
}

/// What it works with.
pub(crate) type Parts<'c> = driver::Parts<'c, AsyncPgConnection, AsyncHook, Arc<Link>>;

type Of<'c> = TxSession<'c, AsyncPgConnection, AsyncHook, Arc<Link>, Session<'static>>;

txsafe::__tx_of_session!(Tx of Of, Parts, AsyncHook, Session<'static>);
txsafe::__tx_methods!(async Tx on Driver reads Row);
txsafe::__transact!(Tx on Driver by Transact);

impl<O, Held> Deref for Tx<'_, O, Held> {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        self.session.connection()
    }
}

impl<O, Held> DerefMut for Tx<'_, O, Held> {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        self.parts().conn
    }
}
