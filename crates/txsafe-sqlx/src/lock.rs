//! Locks in the order that the types demand.

use crate::tx::Tx;
use futures_util::future::BoxFuture;
use sqlx::{AssertSqlSafe, FromRow, postgres::PgRow};
use std::{future::Future, panic::Location};
use txsafe::{
    Allows, Error, LockOrder, Locked, Mode, NoKeyUpdate, Passed, Position, Rank, Ranked,
    hold::order::statement::LockStatement,
};

/// A row type that can be locked: SQLx reads it, and it [belongs to a rank](txsafe::ranked).
pub trait Row: Ranked + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl<T> Row for T where T: Ranked + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

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
        // In a box, because the compiler repeats the errors of a type that names all its parameters at each use.
        Box::pin(async move {
            let tried = self.account.locks.plan_try::<O, T::Rank, NoKeyUpdate>(&key, at)?;
            let row = self.read(&tried.statement).await?.pop();
            if row.is_none() {
                self.account.locks.rolled_back_to(tried.mark);
            }
            Ok(row)
        })
    }

    async fn read<T: Row, M>(
        &mut self,
        statement: &LockStatement,
    ) -> Result<Vec<Locked<'c, T, M>>, Error> {
        let sql = format!("SELECT *{}$1{}", statement.from(), statement.rest());
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(statement.keys());
        let rows = query.fetch_all(self).await;
        let rows: Vec<T> = rows.map_err(|error| crate::failure::of_sqlx(&error))?;
        Ok(rows.into_iter().map(Locked::new).collect())
    }
}

impl<'c, O: LockOrder + Position<R>, R: Rank> Tx<'c, O, R> {
    /// Locks a row of the current rank, by [`NoKeyUpdate`], and reads it.
    ///
    /// # Errors
    /// There is no such row; a greater key of this rank is locked already, or the row in a weaker mode; what the server
    /// said.
    #[track_caller]
    pub fn lock<T>(
        &mut self,
        key: R::Key,
    ) -> impl Future<Output = Result<Locked<'c, T>, Error>> + Send
    where
        T: Row + Ranked<Rank = R>,
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
        key: R::Key,
    ) -> impl Future<Output = Result<Locked<'c, T, M>, Error>> + Send
    where
        M: Mode,
        T: Row + Ranked<Rank = R>,
    {
        let at = Location::caller();
        async move {
            let plan = self.account.locks.plan::<O, R, M>(std::slice::from_ref(&key), at)?;
            let row = self.read(&plan).await?.pop();
            row.ok_or_else(|| Error::row_not_found::<R>(&key))
        }
    }

    /// Locks rows of the current rank by one statement, in ascending order of their keys and each once, and reads them in
    /// that order. Rows that aren't there are left out.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock), except that no row is missed.
    #[track_caller]
    pub fn lock_many<T>(
        &mut self,
        keys: &[R::Key],
    ) -> impl Future<Output = Result<Vec<Locked<'c, T>>, Error>> + Send
    where
        T: Row + Ranked<Rank = R>,
    {
        let plan = self.account.locks.plan::<O, R, NoKeyUpdate>(keys, Location::caller());
        async move { self.read(&plan?).await }
    }

    /// Says that the next statement locks this row of the current rank by itself, as an `UPDATE` does. It is checked and
    /// remembered like [`lock`](Self::lock), and nothing is sent: one statement in place of two, where the row needn't be
    /// read first.
    ///
    /// # Errors
    /// A greater key of this rank is locked already, or the row in a weaker mode.
    #[track_caller]
    pub fn will_lock(&mut self, key: R::Key) -> Result<&mut Self, Error> {
        let keys = std::slice::from_ref(&key);
        self.account.locks.expect::<O, R, NoKeyUpdate>(keys, Location::caller())?;
        Ok(self)
    }
}
