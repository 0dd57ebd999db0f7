//! Writes that ask for evidence: the locks that they need were taken before, in order.

/// The methods of an adapter's `Tx` that hand out Diesel's own statements, with an example of the first.
macro_rules! write_methods {
    ($tx:ident $(#[$example:meta])+) => {
        impl<'c, O: txsafe::LockOrder, Held> $tx<'c, O, Held> {
            /// Diesel's `update` of a row that this transaction has locked for writing. In a savepoint, lock it again: what is held
            /// isn't waited for.
            ///
            $(#[$example])+
            pub fn update<'r, T, M>(
                &self,
                row: &'r txsafe::Locked<'c, T, M>,
            ) -> diesel::query_builder::UpdateStatement<<&'r T as diesel::associations::HasTable>::Table, <&'r T as diesel::query_builder::IntoUpdateTarget>::WhereClause>
            where
                &'r T: diesel::query_builder::IntoUpdateTarget,
                M: txsafe::Writes,
            {
                diesel::update(&**row)
            }

            /// Diesel's `delete` of a row that this transaction has locked by [`ForUpdate`](txsafe::ForUpdate).
            pub fn delete<'r, T, M>(
                &self,
                row: &'r txsafe::Locked<'c, T, M>,
            ) -> diesel::query_builder::DeleteStatement<<&'r T as diesel::associations::HasTable>::Table, <&'r T as diesel::query_builder::IntoUpdateTarget>::WhereClause>
            where
                &'r T: diesel::query_builder::IntoUpdateTarget,
                M: txsafe::Deletes,
            {
                diesel::delete(&**row)
            }

            /// Diesel's `insert_into` a table, given the locked rows that its foreign keys point at, in the order of
            /// [`references!`](txsafe::references): `tx.insert_into(orders::table, (&org, &user)).values(…)`.
            ///
            /// That these are the rows which the values name, is for the reader to see.
            pub fn insert_into<T, P>(&self, table: T, parents: P) -> diesel::query_builder::IncompleteInsertStatement<T>
            where
                T: diesel::Table + txsafe::Ranked<Rank: txsafe::References>,
                P: txsafe::ParentsLocked<'c, <T::Rank as txsafe::References>::Parents>,
            {
                let _evidence = parents;
                diesel::insert_into(table)
            }
        }
    };
}
pub(crate) use write_methods;
