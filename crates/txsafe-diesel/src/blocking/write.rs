//! Writes that ask for evidence: the locks that they need were taken before, in order.

use super::tx::Tx;
use diesel::{
    Table,
    associations::HasTable,
    query_builder::{
        DeleteStatement, IncompleteInsertStatement, IntoUpdateTarget, UpdateStatement,
    },
};
use txsafe::{Deletes, LockOrder, Locked, ParentsLocked, Ranked, References, Writes};

impl<'c, O: LockOrder, Held> Tx<'c, O, Held> {
    /// Diesel's `update` of a row that this transaction has locked for writing. In a savepoint, lock it again: what is held
    /// isn't waited for.
    ///
    /// ```
    /// # use diesel::{ExpressionMethods, Identifiable, Queryable, Selectable};
    /// # diesel::table! { orders (id) { id -> BigInt, status -> Text, } }
    /// # txsafe_diesel::rank!(pub Order: table "orders" key "id" as i64);
    /// # txsafe_diesel::lock_order! { pub ShopOrder: Order }
    /// # txsafe_diesel::ranked!(OrderRow => Order);
    /// # #[derive(Queryable, Selectable, Identifiable)]
    /// # #[diesel(table_name = orders)]
    /// # struct OrderRow { id: i64 }
    /// # fn run(db: txsafe_diesel::blocking::Database<ShopOrder>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// use diesel::RunQueryDsl;
    /// use txsafe_diesel::Locked;
    ///
    /// db.transaction("pay", |tx| {
    ///     let mut tx = tx.at::<Order>();
    ///     let order: Locked<OrderRow> = tx.lock(7)?;
    ///     tx.update(&order).set(orders::status.eq("paid")).execute(&mut *tx)?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn update<'r, T, M>(
        &self,
        row: &'r Locked<'c, T, M>,
    ) -> UpdateStatement<<&'r T as HasTable>::Table, <&'r T as IntoUpdateTarget>::WhereClause>
    where
        &'r T: IntoUpdateTarget,
        M: Writes,
    {
        diesel::update(&**row)
    }

    /// Diesel's `delete` of a row that this transaction has locked by [`ForUpdate`](txsafe::ForUpdate).
    pub fn delete<'r, T, M>(
        &self,
        row: &'r Locked<'c, T, M>,
    ) -> DeleteStatement<<&'r T as HasTable>::Table, <&'r T as IntoUpdateTarget>::WhereClause>
    where
        &'r T: IntoUpdateTarget,
        M: Deletes,
    {
        diesel::delete(&**row)
    }

    /// Diesel's `insert_into` a table, given the locked rows that its foreign keys point at, in the order of
    /// [`references!`](txsafe::references): `tx.insert_into(orders::table, (&org, &user)).values(…)`.
    ///
    /// That these are the rows which the values name, is for the reader to see.
    pub fn insert_into<T, P>(&self, table: T, parents: P) -> IncompleteInsertStatement<T>
    where
        T: Table + Ranked<Rank: References>,
        P: ParentsLocked<'c, <T::Rank as References>::Parents>,
    {
        let _evidence = parents;
        diesel::insert_into(table)
    }
}
