//! What a `Tx` works on: lent to it for a closure, or its own where it was begun by hand.

use super::account::Account;
use std::{fmt, sync::Arc};

/// The session of a `Tx`: of a connection `C` with hooks `H`, by which `X` sees what runs; `S` is the session whole.
#[expect(clippy::exhaustive_enums, reason = "a session is lent or owned")]
pub enum TxSession<'c, C, H, X, S> {
    /// Of the run loop, for a closure.
    Lent(Parts<'c, C, H, X>),
    /// Behind a vtable: only code that begins transactions by hand compiles how a session is dropped.
    Owned(Box<dyn OwnedSession<C, H, X, S>>),
}

/// The parts of a session that a `Tx` works with.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "adapters make them")]
pub struct Parts<'c, C, H, X> {
    /// The connection.
    pub conn: &'c mut C,
    /// The account of the attempt.
    pub account: &'c mut Account<H>,
    /// What sees the statements.
    pub seen: &'c mut X,
}

/// A session that its transaction owns.
pub trait OwnedSession<C, H, X, S>: Send {
    /// What a transaction works with.
    fn parts(&mut self) -> Parts<'_, C, H, X>;

    /// The connection.
    fn connection(&self) -> &C;

    /// The name of the transaction.
    fn transaction(&self) -> &Arc<str>;

    /// The session itself.
    fn into_session(self: Box<Self>) -> S;
}

impl<C, H, X, S> TxSession<'_, C, H, X, S> {
    /// What the transaction works with.
    pub fn parts(&mut self) -> Parts<'_, C, H, X> {
        match self {
            Self::Lent(Parts { conn, account, seen }) => Parts { conn, account, seen },
            Self::Owned(session) => session.parts(),
        }
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &C {
        match self {
            Self::Lent(session) => session.conn,
            Self::Owned(session) => session.connection(),
        }
    }

    /// The session of a transaction that was begun by hand.
    ///
    /// # Panics
    /// If it is lent.
    #[must_use]
    pub fn into_session(self) -> S {
        match self {
            Self::Owned(session) => session.into_session(),
            Self::Lent(_) => unreachable!("only what was begun by hand is ended by hand"),
        }
    }
}

impl<C, H, X, S> fmt::Debug for TxSession<'_, C, H, X, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lent(session) => &session.account.transaction,
            Self::Owned(session) => session.transaction(),
        })
    }
}
