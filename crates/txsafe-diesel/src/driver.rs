//! What the core's `Database` is made of, for diesel-async.

use crate::{
    asked::Asked, checkout::of_manager, deadpools::state_of, failure::failure_of, held::Held,
    row::Row, session::Session, tx::Tx,
};
use deadpool::managed::Manager as _;
use diesel_async::{AsyncPgConnection, pooled_connection::deadpool::Pool};
use futures_util::future::BoxFuture;
use std::{future::Future, time::Duration};
use txsafe::{
    Error, Failure, LockOrder, NoOrder, PoolState, Unlocked,
    driver::{
        Account, AsyncDriver, AsyncHook, Dialect, HasAccount, HeldLocks, LockCall, LockStatement,
        Locks, Postgres, Question, Reads, SessionOptions,
    },
};

/// A database, reached through a deadpool of diesel-async connections.
///
/// Build the pool with [`manager`](crate::manager()), so that the wire of its connections is observed; others work, with
/// less insight, and say so.
pub type Database<O = NoOrder> = txsafe::Database<Driver, O>;

/// A [`Database`] with the options of one call; made by [`Database::with`].
pub type Configured<'d, O = NoOrder> = txsafe::Configured<'d, Database<O>>;

/// A [`Database`] with an idempotency key; made by [`Database::idempotency_key`].
pub type WithKey<'d, O = NoOrder> = txsafe::WithKey<'d, Database<O>>;

/// A transaction that its caller begins and ends by hand; made by [`Database::begin`].
pub type OwnedTx<O = NoOrder> = txsafe::OwnedTx<Driver, O>;

/// Attempts at a transaction that its caller begins and ends by hand; made by [`Database::attempts`].
pub type Attempts<'d, O = NoOrder> = txsafe::Attempts<'d, Driver, O>;

/// [`Attempts`] at a transaction with an idempotency key; made by [`WithKey::attempts`].
pub type KeyedAttempts<'d, O = NoOrder> = txsafe::KeyedAttempts<'d, Driver, O>;

/// A [`Database`] for one test, whose transactions are rolled back; made by [`Database::sandbox`].
#[cfg(feature = "sandbox")]
pub type Sandbox<O = NoOrder> = txsafe::Sandbox<Driver, O>;

/// diesel-async on PostgreSQL.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "it is never made")]
pub enum Driver {}

impl Locks for Driver {
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
        Box::pin(async move {
            let binds = &[call.parameter()];
            let asked = Asked(Question::new(call.sql(), binds)).ask(tx).await;
            asked.map_err(|error| failure_of(&error).into())
        })
    }
}

impl HasAccount for Driver {
    type Hook = AsyncHook;

    fn account<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> &'t mut Account<AsyncHook> {
        tx.account()
    }
}

impl<T: Row> Reads<T> for Driver {
    fn read<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
        statement: LockStatement,
    ) -> BoxFuture<'t, Result<Vec<T>, Error>> {
        Box::pin(
            async move { T::lock(tx, statement).await.map_err(|error| failure_of(&error).into()) },
        )
    }
}

impl AsyncDriver for Driver {
    type Pool = Pool<AsyncPgConnection>;
    type Held<'a> = Held<'a>;
    type Session<'a> = Session<'a>;
    const DIALECT: &'static dyn Dialect = &Postgres;
    const SHOWS_BIND_VALUES: bool = true;

    fn state(pool: &Self::Pool) -> PoolState {
        state_of(pool)
    }

    async fn checkout<'a>(
        pool: &'a Self::Pool,
        options: SessionOptions,
    ) -> Result<Session<'a>, Failure> {
        Session::checkout(pool, options).await
    }

    async fn checkout_owned(
        pool: &Self::Pool,
        options: SessionOptions,
    ) -> Result<Session<'static>, Failure> {
        Session::checkout(pool, options).await
    }

    fn tx<'c, O: LockOrder>(session: &'c mut Session<'_>) -> Self::Tx<'c, O, Unlocked> {
        session.tx()
    }

    #[inline]
    fn own<O: LockOrder>(session: Session<'static>) -> Self::Tx<'static, O, Unlocked> {
        Tx::owning(session)
    }

    #[inline]
    fn disown<O: LockOrder>(tx: Self::Tx<'static, O, Unlocked>) -> Session<'static> {
        tx.into_session()
    }

    async fn ask_beside(
        pool: &Self::Pool,
        question: Question<'_>,
    ) -> Result<Option<String>, Failure> {
        let mut conn = pool.manager().create().await.map_err(|error| of_manager(&error))?;
        Asked(question).ask(&mut conn).await.map_err(|error| failure_of(&error))
    }

    fn sleep(pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(pause)
    }

    fn deadline(after: Duration) -> impl Future<Output = ()> + Send + 'static {
        txsafe::driver::deadline(after)
    }
}
