//! Writes of many rows that lock them in the order of their keys.

use super::{
    closure::{AsyncFuncMut, AsyncFuncOnce},
    savepoint::Savepoints,
};
use crate::locks::relation::LockOrder;

/// Sorts rows by their keys, so that all transactions that write some of them lock them in one order.
///
/// Rows with equal keys keep their order. Any order of keys will do, as long as it is the same in the whole program: take the key that the
/// table has, and not a part of the row that changes.
///
/// # Examples
/// ```
/// let rows = txsafe::in_key_order([(3, "c"), (1, "a"), (2, "b")], |row| row.0);
/// assert_eq!(rows, [(1, "a"), (2, "b"), (3, "c")]);
/// ```
pub fn in_key_order<R, K: Ord>(
    rows: impl IntoIterator<Item = R>,
    key: impl FnMut(&R) -> K,
) -> Vec<R> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(key);
    rows
}

/// Writes sorted rows at once.
///
/// # Errors
/// What `write` returned.
pub async fn upsert_many<D, O, Held, R, T, E, F>(
    tx: &mut D::Tx<'_, O, Held>,
    rows: Vec<R>,
    write: F,
) -> Result<T, E>
where
    D: Savepoints,
    O: LockOrder,
    F: for<'c> AsyncFnOnce((D::Tx<'c, O, Held>, Vec<R>)) -> Result<T, E>
        + for<'c> AsyncFuncOnce<(D::Tx<'c, O, Held>, Vec<R>), Result<T, E>, Fut: Send>,
{
    write((D::lend(tx), rows)).await
}

/// Writes sorted rows one after another.
///
/// # Errors
/// The first error that `write` returns; the rows after it aren't written.
pub async fn update_many<D, O, Held, R, E, F>(
    tx: &mut D::Tx<'_, O, Held>,
    rows: Vec<R>,
    mut write: F,
) -> Result<(), E>
where
    D: Savepoints,
    O: LockOrder,
    F: for<'c> AsyncFnMut((D::Tx<'c, O, Held>, R)) -> Result<(), E>
        + for<'c> AsyncFuncMut<(D::Tx<'c, O, Held>, R), Result<(), E>, Fut: Send>,
{
    for row in rows {
        write((D::lend(tx), row)).await?;
    }
    Ok(())
}

/// The methods that write many rows.
#[doc(hidden)]
#[macro_export]
macro_rules! __many_methods {
    ($mode:ident $tx:ident on $driver:ident) => {
        $crate::__many_methods! {
            $mode $tx on $driver
            {
                /// Writes many rows by one statement, sorted by their keys: `write` gets the transaction and the rows, and writes
                /// them as they stand.
                ///
                /// An `INSERT … ON CONFLICT DO UPDATE` locks its rows in the order in which they are listed. Two of them that list
                /// the same rows in opposite orders deadlock; sorted, one waits for the other.
                ///
                /// An `UPDATE … FROM` a list follows it only as long as the server plans a nested loop: use
                /// [`update_many`](Self::update_many), or lock the rows first.
                ///
                /// # Errors
                /// What `write` returned.
            }
            {
                /// Writes many rows one after another, in the order of their keys: `write` gets the transaction and a row, and
                /// writes that.
                ///
                /// It is a statement for each row, and so a round trip. An `UPDATE` of many rows by one statement locks them in
                /// an order that the server chooses, and another one for another number of rows.
                ///
                /// # Errors
                /// The first error that `write` returns; the rows after it aren't written.
            }
        }
    };
    (async $tx:ident on $driver:ident {$(#[$upsert:meta])+} {$(#[$update:meta])+}) => {
        impl<O: $crate::LockOrder, Held: 'static> $tx<'_, O, Held> {
            $(#[$upsert])+
            pub fn upsert_many<'t, R, K, T, E, F>(
                &'t mut self,
                rows: impl IntoIterator<Item = R>,
                key: impl FnMut(&R) -> K,
                write: F,
            ) -> impl ::std::future::Future<Output = Result<T, E>> + Send + 't
            where
                F: for<'c> AsyncFnOnce(($tx<'c, O, Held>, Vec<R>)) -> Result<T, E>
                    + for<'c> $crate::AsyncFuncOnce<($tx<'c, O, Held>, Vec<R>), Result<T, E>, Fut: Send>
                    + Send
                    + 't,
                R: Send + 't,
                K: Ord,
                T: Send + 't,
                E: Send + 't,
            {
                let rows = $crate::in_key_order(rows, key);
                $crate::driver::upsert_many::<$driver, O, Held, R, T, E, F>(self, rows, write)
            }

            $(#[$update])+
            pub fn update_many<'t, R, K, E, F>(
                &'t mut self,
                rows: impl IntoIterator<Item = R>,
                key: impl FnMut(&R) -> K,
                write: F,
            ) -> impl ::std::future::Future<Output = Result<(), E>> + Send + 't
            where
                F: for<'c> AsyncFnMut(($tx<'c, O, Held>, R)) -> Result<(), E>
                    + for<'c> $crate::AsyncFuncMut<($tx<'c, O, Held>, R), Result<(), E>, Fut: Send>
                    + Send
                    + 't,
                R: Send + 't,
                K: Ord,
                E: Send + 't,
            {
                let rows = $crate::in_key_order(rows, key);
                $crate::driver::update_many::<$driver, O, Held, R, E, F>(self, rows, write)
            }
        }
    };
    (blocking $tx:ident on $driver:ident {$(#[$upsert:meta])+} {$(#[$update:meta])+}) => {
        impl<O: $crate::LockOrder, Held> $tx<'_, O, Held> {
            $(#[$upsert])+
            pub fn upsert_many<R, K: Ord, T, E>(
                &mut self,
                rows: impl IntoIterator<Item = R>,
                key: impl FnMut(&R) -> K,
                write: impl for<'c> FnOnce(($tx<'c, O, Held>, Vec<R>)) -> Result<T, E>,
            ) -> Result<T, E> {
                let rows = $crate::in_key_order(rows, key);
                write((<$driver as $crate::driver::Savepoints>::lend(self), rows))
            }

            $(#[$update])+
            pub fn update_many<R, K: Ord, E>(
                &mut self,
                rows: impl IntoIterator<Item = R>,
                key: impl FnMut(&R) -> K,
                mut write: impl for<'c> FnMut(($tx<'c, O, Held>, R)) -> Result<(), E>,
            ) -> Result<(), E> {
                for row in $crate::in_key_order(rows, key) {
                    write((<$driver as $crate::driver::Savepoints>::lend(self), row))?;
                }
                Ok(())
            }
        }
    };
}
