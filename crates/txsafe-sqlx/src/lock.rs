//! Locks in the order that the types demand.
//!
//! Futures are boxed, because the compiler repeats the errors of a type that names all its parameters at each use.

use crate::{driver::Driver, row::Row, tx::Tx};
use futures_util::future::BoxFuture;
use std::panic::Location;
use txsafe::{
    Allows, At, Error, LockOrder, LockSet, Locked, Mode, NoKeyUpdate, Passed, Position, Rank,
    TableRank,
    driver::{lock, lock_set},
};

impl<'c, O: LockOrder, Held> Tx<'c, O, Held> {
    /// Goes on to the rank `R`, whose rows may be locked from here on. It asks nothing of the server.
    ///
    /// The rank only rises: what is locked stays locked until the transaction ends. A wrong order doesn't compile.
    ///
    /// ```compile_fail,E0277
    /// # txsafe_sqlx::rank!(pub Organization: table "organizations" key "id" as i64);
    /// # txsafe_sqlx::rank!(pub User: table "users" key "id" as i64);
    /// txsafe_sqlx::lock_order! { pub ShopOrder: Organization => User }
    ///
    /// # async fn run(db: txsafe_sqlx::Database<ShopOrder>) -> Result<(), txsafe_sqlx::Error> {
    /// db.transaction("wrong", async |tx| {
    ///     let tx = tx.at::<User>();
    ///     let tx = tx.at::<Organization>(); // `Organization` doesn't come after `User`
    ///     Ok(())
    /// }).await
    /// # }
    /// ```
    pub fn at<R: Rank>(self) -> Tx<'c, O, R>
    where
        O: Allows<Held, R>,
    {
        self.with_rank()
    }

    /// Locks a [set](LockSet) of rows and advisory locks, of any ranks that may be locked now, in their order however they
    /// are written down. What was read comes back with the transaction, whose rank is the highest of the set.
    ///
    /// ```text
    /// let ((order, users), tx) = tx.lock_all((row::<OrderRow>(7), rows::<UserRow>([3, 5]))).await?;
    /// ```
    ///
    /// # Errors
    /// A `row` that isn't there; a lock that is refused at run time, as by [`lock`](Tx::lock); what the server said.
    #[track_caller]
    pub fn lock_all<S>(self, set: S) -> BoxFuture<'c, Result<AllLocked<'c, S, O, Held>, Error>>
    where
        S: LockSet<Driver, O, Held> + 'c,
        Held: 'static,
    {
        let at = Location::caller();
        Box::pin(async move { lock_set::lock_all::<Driver, O, Held, S>(self, &set, at).await })
    }

    /// Locks a row of a rank that was passed already, if nobody else holds it: `None` if somebody does, or if there is no
    /// such row. It doesn't wait, so it may go back.
    ///
    /// # Errors
    /// A row that is held in a weaker mode; what the server said.
    #[track_caller]
    pub fn try_lock_earlier<T>(
        &mut self,
        key: <T::Rank as Rank>::Key,
    ) -> BoxFuture<'_, Result<Option<Locked<'c, T>>, Error>>
    where
        T: Row,
        O: Passed<Held, T::Rank>,
        Held: 'static,
    {
        let at = Location::caller();
        Box::pin(async move { lock::try_row::<Driver, O, Held, T>(self, &key, at).await })
    }
}

/// What was read by [`lock_all`](Tx::lock_all), and the transaction.
type AllLocked<'c, S, O, Held> = (
    <S as LockSet<Driver, O, Held>>::Rows<'c>,
    Tx<'c, O, <S as LockSet<Driver, O, Held>>::Highest>,
);

impl<'c, O: LockOrder, Held: 'static> Tx<'c, O, Held> {
    /// Locks a row of the current rank, by [`NoKeyUpdate`], and reads it: `tx.lock::<UserRow>(7)`.
    ///
    /// # Errors
    /// There is no such row; a greater key of this rank is locked already, or the row in a weaker mode; what the server
    /// said.
    #[track_caller]
    pub fn lock<T>(
        &mut self,
        key: <T::Rank as Rank>::Key,
    ) -> BoxFuture<'_, Result<Locked<'c, T>, Error>>
    where
        T: Row,
        Held: At<T::Rank>,
        O: Position<T::Rank>,
    {
        self.lock_for::<NoKeyUpdate, T>(key)
    }

    /// Locks a row of the current rank in another mode, and reads it.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock).
    #[track_caller]
    pub fn lock_for<M, T>(
        &mut self,
        key: <T::Rank as Rank>::Key,
    ) -> BoxFuture<'_, Result<Locked<'c, T, M>, Error>>
    where
        M: Mode,
        T: Row,
        Held: At<T::Rank>,
        O: Position<T::Rank>,
    {
        let at = Location::caller();
        Box::pin(async move { lock::row::<Driver, O, Held, T, M>(self, &key, at).await })
    }

    /// Locks rows of the current rank by one statement, in ascending order of their keys and each once, and reads them in
    /// that order. Rows that aren't there are left out.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), except that no row is missed.
    #[track_caller]
    pub fn lock_many<T>(
        &mut self,
        keys: &[<T::Rank as Rank>::Key],
    ) -> BoxFuture<'_, Result<Vec<Locked<'c, T>>, Error>>
    where
        T: Row,
        Held: At<T::Rank>,
        O: Position<T::Rank>,
    {
        let (keys, at) = (keys.to_vec(), Location::caller());
        Box::pin(
            async move { lock::rows::<Driver, O, Held, T, NoKeyUpdate>(self, &keys, at).await },
        )
    }

    /// Locks rows of the current rank like [`lock_many`](Self::lock_many), and reads none: before an `UPDATE` of several
    /// rows, which locks them in an order of its own.
    ///
    /// # Errors
    /// As for [`lock_many`](Self::lock_many).
    #[track_caller]
    pub fn lock_keys(&mut self, keys: &[Held::Key]) -> BoxFuture<'_, Result<(), Error>>
    where
        Held: TableRank,
        O: Position<Held>,
    {
        let (keys, at) = (keys.to_vec(), Location::caller());
        Box::pin(async move { lock::keys::<Driver, O, Held, Held>(self, &keys, at).await })
    }

    /// Says that the next statement locks this row of the current rank by itself, as an `UPDATE` does. It is checked and
    /// remembered like [`lock`](Self::lock), and nothing is sent: one statement in place of two, where the row needn't be
    /// read first.
    ///
    /// One row for one statement: an `UPDATE` of several rows locks them in an order of its own. Lock those by
    /// [`lock_keys`](Self::lock_keys) first.
    ///
    /// # Errors
    /// A greater key of this rank is locked already, or the row in a weaker mode.
    #[track_caller]
    pub fn will_lock(&mut self, key: Held::Key) -> Result<&mut Self, Error>
    where
        Held: TableRank,
        O: Position<Held>,
    {
        let keys = std::slice::from_ref(&key);
        self.account.locks.expect::<O, Held, NoKeyUpdate>(keys, Location::caller())?;
        Ok(self)
    }
}
