//! What the core knows of Diesel's blocking connections.

use super::{
    held::Held,
    language::Language,
    pool::{Pool, R2d2Pool, Sealed},
    session::{Lease, Session},
    tx::Tx,
};
use crate::{asked::Asked, failure::failure_of, row::Row};
use futures_util::future::BoxFuture;
use std::{convert::Infallible, future::ready as made, marker::PhantomData};
use txsafe::{
    Error, Failure, LockOrder, NoOrder, PoolState,
    driver::{
        Account, BlockingDriver, BlockingHook, Dialect, HasAccount, HeldLocks, LockCall,
        LockStatement, Locks, OnThisThread, Postgres, Question, Reads, SessionOptions,
    },
};

/// A database over a pool of Diesel's blocking connections: r2d2's, or deadpool-diesel's.
pub type Database<O = NoOrder, P = R2d2Pool> = txsafe::BlockingDatabase<Driver<P>, O>;

/// A [`Database`] with the options of one call; made by [`Database::with`].
pub type Configured<'d, O = NoOrder, P = R2d2Pool> = txsafe::Configured<'d, Database<O, P>>;

/// A [`Database`] with an idempotency key; made by [`Database::idempotency_key`].
pub type WithKey<'d, O = NoOrder, P = R2d2Pool> = txsafe::WithKey<'d, Database<O, P>>;

/// A transaction that its caller begins and ends by hand; made by [`Database::begin`].
pub type OwnedTx<O = NoOrder> = txsafe::BlockingOwnedTx<Driver, O>;

/// Attempts at a transaction that its caller begins and ends by hand; made by [`Database::attempts`].
pub type Attempts<'d, O = NoOrder> = txsafe::BlockingAttempts<'d, Driver, O>;

/// [`Attempts`] at a transaction with an idempotency key; made by [`WithKey::attempts`].
pub type KeyedAttempts<'d, O = NoOrder> = txsafe::BlockingKeyedAttempts<'d, Driver, O>;

/// Diesel's own connections to PostgreSQL, from a pool of this type. It is never made.
#[derive(Debug, Clone, Copy)]
pub struct Driver<P = R2d2Pool>(Infallible, PhantomData<fn() -> P>);

impl<P: Pool> BlockingDriver for Driver<P> {
    type Pool = P;
    type Known = Language;
    type Held<'a> = Held<'a, P>;
    type Session<'a> = Session<'a, P>;
    const DIALECT: &'static dyn Dialect = &Postgres;

    fn state(pool: &P) -> PoolState {
        pool.state()
    }

    fn max_size(pool: &P) -> usize {
        Sealed::max_size(pool)
    }

    fn checkout<'a>(
        pool: &P,
        language: &Language,
        options: SessionOptions,
    ) -> Result<Session<'a, P>, Failure> {
        Session::new(Lease::Pooled(pool.checkout(options)?), language, options)
    }

    fn run<O: LockOrder, R>(session: &mut Session<'_, P>, body: impl FnOnce(Tx<'_, O>) -> R) -> R {
        session.run(body)
    }

    fn ask_beside(pool: &P, question: Question<'_>) -> Option<String> {
        pool.ask(question)
    }
}

impl OnThisThread for Driver {
    #[inline]
    fn own<O: LockOrder>(session: Session<'static, R2d2Pool>) -> Tx<'static, O> {
        Tx::owning(session)
    }

    #[inline]
    fn disown<O: LockOrder>(tx: Tx<'static, O>) -> Session<'static, R2d2Pool> {
        tx.into_session()
    }
}

impl<P: Pool> Locks for Driver<P> {
    type Tx<'c, O: LockOrder, Held> = Tx<'c, O, Held>;

    fn held<'t, O: LockOrder, Held>(tx: &'t mut Self::Tx<'_, O, Held>) -> &'t mut HeldLocks {
        &mut tx.account().locks
    }

    fn with_rank<'c, O: LockOrder, Held, Other>(
        tx: Self::Tx<'c, O, Held>,
    ) -> Self::Tx<'c, O, Other> {
        tx.with_rank()
    }

    fn call<'t, O: LockOrder, Held>(
        tx: &'t mut Self::Tx<'_, O, Held>,
        call: LockCall,
    ) -> BoxFuture<'t, Result<Option<String>, Error>> {
        let binds = &[call.parameter()];
        let asked = Asked(Question::new(call.sql(), binds)).ask_blocking(tx);
        Box::pin(made(asked.map_err(|error| failure_of(&error).into())))
    }
}

impl<P: Pool> HasAccount for Driver<P> {
    type Hook = BlockingHook;

    fn account<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> &'t mut Account<BlockingHook> {
        tx.account()
    }
}

impl<P: Pool, T: Row> Reads<T> for Driver<P> {
    fn read<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
        statement: LockStatement,
    ) -> BoxFuture<'t, Result<Vec<T>, Error>> {
        let read = T::lock_blocking(tx, statement);
        Box::pin(made(read.map_err(|error| failure_of(&error).into())))
    }
}
