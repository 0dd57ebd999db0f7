//! What the core's `Database` is made of, for SQLx.

use crate::{
    engine::{Conn, Engine},
    failure::of_connecting,
    held::Held,
    session::Session,
    tx::Tx,
};
use futures_util::future::BoxFuture;
use sqlx::{Connection, Pool};
use std::{convert::Infallible, future::Future, marker::PhantomData, time::Duration};
use txsafe::{
    Error, Failure, LockOrder, PoolState, Unlocked,
    driver::{
        Account, AsyncDriver, AsyncHook, Dialect, HasAccount, HeldLocks, LockCall, Locks, Question,
        SessionOptions,
    },
};

/// SQLx on a database of this type. It is never made.
#[derive(Debug, Clone, Copy)]
pub struct Driver<DB>(Infallible, PhantomData<fn() -> DB>);

impl<DB: Engine> Locks for Driver<DB> {
    type Tx<'c, O: LockOrder, Held> = Tx<'c, DB, O, Held>;

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
        DB::call(tx, call)
    }
}

impl<DB: Engine> HasAccount for Driver<DB> {
    type Hook = AsyncHook;

    fn account<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
    ) -> &'t mut Account<AsyncHook> {
        tx.account()
    }
}

impl<DB: Engine> AsyncDriver for Driver<DB> {
    type Pool = Pool<DB>;
    type Held<'a> = Held<'a, DB>;
    type Session<'a> = Session<'a, DB>;
    const DIALECT: &'static dyn Dialect = DB::DIALECT;
    const SHOWS_BIND_VALUES: bool = false;

    fn state(pool: &Pool<DB>) -> PoolState {
        state_of(pool)
    }

    async fn checkout<'a>(
        pool: &'a Pool<DB>,
        options: SessionOptions,
    ) -> Result<Session<'a, DB>, Failure> {
        Session::checkout(pool, options).await
    }

    async fn checkout_owned(
        pool: &Pool<DB>,
        options: SessionOptions,
    ) -> Result<Session<'static, DB>, Failure> {
        Session::checkout(pool, options).await
    }

    fn tx<'c, O: LockOrder>(session: &'c mut Session<'_, DB>) -> Self::Tx<'c, O, Unlocked> {
        session.tx()
    }

    #[inline]
    fn own<O: LockOrder>(session: Session<'static, DB>) -> Self::Tx<'static, O, Unlocked> {
        Tx::owning(session)
    }

    #[inline]
    fn disown<O: LockOrder>(tx: Self::Tx<'static, O, Unlocked>) -> Session<'static, DB> {
        tx.into_session()
    }

    async fn ask_beside(
        pool: &Pool<DB>,
        question: Question<'_>,
    ) -> Result<Option<String>, Failure> {
        let connected = Conn::<DB>::connect_with(&pool.connect_options()).await;
        let mut conn = connected.map_err(|error| of_connecting::<DB>(&error))?;
        let asked = DB::ask(&mut conn, question).await;
        // Whatever it said, the connection was made for this alone.
        drop(conn.close().await);
        asked.map_err(|error| DB::failure_of(&error))
    }

    fn sleep(pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        tokio::time::sleep(pause)
    }

    fn deadline(after: Duration) -> impl Future<Output = ()> + Send + 'static {
        txsafe::driver::deadline(after)
    }
}

/// How full a pool is.
pub(crate) fn state_of<DB: Engine>(pool: &Pool<DB>) -> PoolState {
    let [size, max_size] = [pool.size(), pool.options().get_max_connections()]
        .map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    PoolState::new(size, max_size, pool.num_idle(), None)
}
