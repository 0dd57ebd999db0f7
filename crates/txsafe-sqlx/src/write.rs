//! Writes that ask for evidence: the locks that they need were taken before, in order.

use crate::engine::postgres::Tx;
use futures_util::future::BoxFuture;
use sqlx::{Execute, Executor, Postgres, postgres::PgQueryResult};
use txsafe::{Deletes, LockOrder, Locked, ParentsLocked, References, Writes};

/// What a write says.
type Written<'t> = BoxFuture<'t, sqlx::Result<PgQueryResult>>;

impl<'c, O: LockOrder, Held> Tx<'c, O, Held> {
    /// Executes the `UPDATE` of a row that this transaction has locked for writing. In a savepoint, lock it again: what is
    /// held isn't waited for.
    ///
    /// ```
    /// # txsafe_sqlx::rank!(pub Order: table "orders" key "id" as i64);
    /// # txsafe_sqlx::lock_order! { pub ShopOrder: Order }
    /// # txsafe_sqlx::ranked!(OrderRow => Order);
    /// # #[derive(sqlx::FromRow)]
    /// # struct OrderRow { id: i64 }
    /// # async fn run(db: txsafe_sqlx::Database<ShopOrder>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// use txsafe_sqlx::Locked;
    ///
    /// db.transaction("pay", async |tx| {
    ///     let mut tx = tx.at::<Order>();
    ///     let order: Locked<OrderRow> = tx.lock(7).await?;
    ///     let pay = sqlx::query("UPDATE orders SET status = 'paid' WHERE id = $1").bind(order.id);
    ///     tx.update(&order, pay).await?;
    ///     Ok(())
    /// }).await
    /// # }
    /// ```
    ///
    /// That the query writes this row and no other, is for the reader to see.
    ///
    /// # Errors
    /// What the query says.
    pub fn update<'t, 'q: 't, T, M: Writes>(
        &'t mut self,
        row: &Locked<'c, T, M>,
        query: impl Execute<'q, Postgres> + 'q,
    ) -> Written<'t> {
        let _evidence = row;
        self.execute(query)
    }

    /// Executes the `DELETE` of a row that this transaction has locked by [`ForUpdate`](txsafe::ForUpdate).
    ///
    /// # Errors
    /// What the query says.
    pub fn delete<'t, 'q: 't, T, M: Deletes>(
        &'t mut self,
        row: &Locked<'c, T, M>,
        query: impl Execute<'q, Postgres> + 'q,
    ) -> Written<'t> {
        let _evidence = row;
        self.execute(query)
    }

    /// Executes an `INSERT` into the table of the rank `R`, given the locked rows that its foreign keys point at, in the
    /// order of [`references!`](txsafe::references): `tx.insert_into::<Order, _>((&org, &user), query)`.
    ///
    /// That these are the rows which the query names, is for the reader to see.
    ///
    /// # Errors
    /// What the query says.
    pub fn insert_into<'t, 'q: 't, R, P>(
        &'t mut self,
        parents: P,
        query: impl Execute<'q, Postgres> + 'q,
    ) -> Written<'t>
    where
        R: References,
        P: ParentsLocked<'c, R::Parents>,
    {
        let _evidence = parents;
        self.execute(query)
    }
}
