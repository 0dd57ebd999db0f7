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

/// How a `Tx<'c, O, Held>` is made of its session, which is a `$of<'c>`, and taken apart.
#[doc(hidden)]
#[macro_export]
macro_rules! __tx_of_session {
    ($tx:ident of $of:ident, $parts:ident, $hook:ident, $session:ty) => {
        impl<'c, O, Held> $tx<'c, O, Held> {
            pub(crate) fn new(session: $parts<'c>) -> Self {
                Self::of($crate::driver::TxSession::Lent(session))
            }

            fn of(session: $of<'c>) -> Self {
                Self { session, rank: PhantomData, lives: PhantomData }
            }

            /// The same transaction, where another rank may be the highest that is held.
            pub(crate) fn with_rank<Other>(self) -> $tx<'c, O, Other> {
                $tx::of(self.session)
            }

            pub(crate) fn parts(&mut self) -> $parts<'_> {
                self.session.parts()
            }

            pub(crate) fn account(&mut self) -> &mut $crate::driver::Account<$hook> {
                self.parts().account
            }
        }

        impl<O, Held> $tx<'static, O, Held> {
            #[inline]
            pub(crate) fn owning(session: $session) -> Self {
                Self::of($crate::driver::TxSession::Owned(Box::new(session)))
            }

            #[inline]
            pub(crate) fn into_session(self) -> $session {
                self.session.into_session()
            }
        }

        impl<O, Held> ::std::fmt::Debug for $tx<'_, O, Held> {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct("Tx").field("transaction", &self.session).finish_non_exhaustive()
            }
        }
    };
}
