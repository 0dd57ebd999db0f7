//! Locks: planned by what is held already, then asked of the server.
//!
//! Adapters implement [`Locks`] and [`Reads`] for their driver; what a lock means is here once. A blocking driver's
//! futures are ready when they are made.
//!
//! Their futures are boxed, because the compiler can't show of others, which name the transaction's type by what it is to
//! its driver, that they are `Send`.

use super::{
    advisory::{AdvisoryId, Ids},
    held::{HeldLocks, sorted},
    locked::Locked,
    mode::{Mode, NoKeyUpdate},
    rank::{AdvisoryRank, Rank, Ranked, SequenceRank, TableRank},
    relation::{LockOrder, Position},
    statement::{LockCall, LockStatement},
};
use crate::{dialect::condition::Condition, error::Error};
use futures_util::{FutureExt, future::BoxFuture};
use std::{
    future::Future,
    panic::Location,
    sync::{LazyLock, Mutex, PoisonError},
};

/// A driver through whose transactions locks are taken. Adapters implement it for a type that is never made.
pub trait Locks: 'static {
    /// A transaction on a database with the lock order `O`, which may have locked as far as `Held`.
    type Tx<'c, O: LockOrder, Held>: Send;

    /// The locks that were taken through its types.
    fn held<'t, O: LockOrder, Held>(tx: &'t mut Self::Tx<'_, O, Held>) -> &'t mut HeldLocks;

    /// The same transaction, where another rank may be the highest that is held.
    fn with_rank<'c, O: LockOrder, Held, Other>(
        tx: Self::Tx<'c, O, Held>,
    ) -> Self::Tx<'c, O, Other>;

    /// Sends a statement that is no query of rows; its first answer, where there is one.
    fn call<'t, O: LockOrder, Held>(
        tx: &'t mut Self::Tx<'_, O, Held>,
        call: LockCall,
    ) -> BoxFuture<'t, Result<Option<String>, Error>>;
}

/// A driver that reads `T`.
pub trait Reads<T>: Locks {
    /// Locks rows and reads them.
    fn read<'t, O: LockOrder, Held>(
        tx: &'t mut Self::Tx<'_, O, Held>,
        statement: LockStatement,
    ) -> BoxFuture<'t, Result<Vec<T>, Error>>;
}

/// What a future returns whose every await is on futures of a blocking driver, which are ready when they are made.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().unwrap_or_else(|| unreachable!("nothing in it waits"))
}

/// Locks a row.
///
/// # Errors
/// There is no such row; the order refuses it; what the server said.
pub async fn row<'c, D, O, Held, T, M>(
    tx: &mut D::Tx<'c, O, Held>,
    key: &<T::Rank as Rank>::Key,
    at: &'static Location<'static>,
) -> Result<Locked<'c, T, M>, Error>
where
    D: Reads<T>,
    O: LockOrder + Position<T::Rank>,
    T: Ranked,
    M: Mode,
{
    let row = rows::<D, O, Held, T, M>(tx, std::slice::from_ref(key), at).await?.pop();
    row.ok_or_else(|| Error::row_not_found(T::Rank::NAME, key))
}

/// Locks rows by one statement, those that are there.
///
/// # Errors
/// The order refuses them; what the server said.
pub async fn rows<'c, D, O, Held, T, M>(
    tx: &mut D::Tx<'c, O, Held>,
    keys: &[<T::Rank as Rank>::Key],
    at: &'static Location<'static>,
) -> Result<Vec<Locked<'c, T, M>>, Error>
where
    D: Reads<T>,
    O: LockOrder + Position<T::Rank>,
    T: Ranked,
    M: Mode,
{
    let mark = D::held(tx).mark();
    let statement = D::held(tx).plan::<O, T::Rank, M>(keys, at)?;
    let rows = D::read(tx, statement).await?;
    if rows.is_empty() {
        D::held(tx).rolled_back_to(mark);
    }
    Ok(rows.into_iter().map(Locked::new).collect())
}

/// Locks rows by one statement, and reads none.
///
/// # Errors
/// The order refuses them; what the server said.
pub async fn keys<D, O, Held, R>(
    tx: &mut D::Tx<'_, O, Held>,
    keys: &[R::Key],
    at: &'static Location<'static>,
) -> Result<(), Error>
where
    D: Locks,
    O: LockOrder + Position<R>,
    R: TableRank,
{
    let keys = sorted(keys);
    D::held(tx).expect::<O, R, NoKeyUpdate>(&keys, at)?;
    D::call(tx, LockCall::rows::<R, NoKeyUpdate>(&keys)).await?;
    Ok(())
}

/// Locks a row of any rank if nobody else holds it.
///
/// # Errors
/// It is held in a weaker mode; what the server said.
pub async fn try_row<'c, D, O, Held, T>(
    tx: &mut D::Tx<'c, O, Held>,
    key: &<T::Rank as Rank>::Key,
    at: &'static Location<'static>,
) -> Result<Option<Locked<'c, T>>, Error>
where
    D: Reads<T>,
    O: LockOrder + Position<T::Rank>,
    T: Ranked,
{
    let tried = D::held(tx).plan_try::<O, T::Rank, NoKeyUpdate>(key, at)?;
    let row = D::read(tx, tried.statement).await?.pop();
    if row.is_none() {
        D::held(tx).rolled_back_to(tried.mark);
    }
    Ok(row.map(Locked::new))
}

/// Takes advisory locks, in ascending order of their ids.
///
/// # Errors
/// The order refuses them; what the server said.
pub async fn advisory<D, O, Held, R>(
    tx: &mut D::Tx<'_, O, Held>,
    keys: &[R::Key],
    is_shared: bool,
    at: &'static Location<'static>,
) -> Result<(), Error>
where
    D: Locks,
    O: LockOrder + Position<R>,
    R: AdvisoryRank,
{
    let keys: Vec<_> = keys.iter().map(|key| (identified::<R>(key), key.clone())).collect();
    let call = D::held(tx).plan_advisory::<O, R>(&keys, is_shared, at)?;
    D::call(tx, call).await?;
    Ok(())
}

/// Takes an advisory lock of any rank if nobody else holds it.
///
/// # Errors
/// It is held as a shared one; what the server said.
pub async fn try_advisory<D, O, Held, R>(
    tx: &mut D::Tx<'_, O, Held>,
    key: &R::Key,
    is_shared: bool,
    at: &'static Location<'static>,
) -> Result<bool, Error>
where
    D: Locks,
    O: LockOrder + Position<R>,
    R: AdvisoryRank,
{
    let key = (identified::<R>(key), key);
    let tried = D::held(tx).plan_try_advisory::<O, R>(key, is_shared, at)?;
    let is_locked = D::call(tx, tried.statement).await?.as_deref() == Some("true");
    if !is_locked {
        D::held(tx).rolled_back_to(tried.mark);
    }
    Ok(is_locked)
}

/// Takes the next number of a scope.
///
/// # Errors
/// The order refuses it; the table of sequences is missing; what the server said.
pub async fn next_in_sequence<D, O, Held, R>(
    tx: &mut D::Tx<'_, O, Held>,
    scope: &R::Key,
    at: &'static Location<'static>,
) -> Result<i64, Error>
where
    D: Locks,
    O: LockOrder + Position<R>,
    R: SequenceRank,
{
    let call = D::held(tx).plan_sequence::<O, R>(scope, at)?;
    let answer = D::call(tx, call).await.map_err(|error| match error.failure() {
        Some(failure) if failure.condition() == Condition::UndefinedTable => {
            failure.clone().with_cure(SEQUENCES_CURE).into()
        }
        _ => error,
    })?;
    let number = answer.and_then(|number| number.parse().ok());
    Ok(number.unwrap_or_else(|| unreachable!("INSERT … RETURNING answers a bigint")))
}

const SEQUENCES_CURE: &str =
    "scoped sequences need their table: put `SEQUENCES_SQL` into a migration";

/// The id of an advisory key, which is reported if it belongs to another key, too.
pub(super) fn identified<R: AdvisoryRank>(key: &R::Key) -> AdvisoryId {
    static IDS: LazyLock<Mutex<Ids>> = LazyLock::new(Mutex::default);
    let id = AdvisoryId::of::<R>(key);
    let mut ids = IDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((one, other)) = ids.note(id, || format!("`{}` {key:?}", R::NAME)) {
        warn_of_collision(&one, &other);
    }
    id
}

/// Two advisory keys are one lock.
fn warn_of_collision(one: &str, other: &str) {
    tracing::warn!(
        "two advisory keys have the same 64-bit id, and who locks one waits for the other: {one} and {other}; \
         give one of the ranks another namespace",
    );
}
