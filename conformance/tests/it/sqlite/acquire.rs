//! Helpers that take an `impl Acquire`.

use super::bank::Bank;
use sqlx::{Acquire, Error, Sqlite, SqlitePool, query};
use txsafe_conformance::error::AppError;
use txsafe_sqlx::sqlite::Database;

/// A helper of somebody else's: it begins where it is given a pool.
async fn move_to_third<'c>(
    on: impl Acquire<'c, Database = Sqlite>,
    amount: i64,
) -> Result<(), Error> {
    const ADD: &str = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";
    let mut tx = on.begin().await?;
    query(ADD).bind(amount).bind(3).execute(&mut *tx).await?;
    query(ADD).bind(-amount).bind(1).execute(&mut *tx).await?;
    tx.commit().await
}

#[tokio::test]
async fn what_a_helper_acquires_is_a_savepoint() {
    let bank = Bank::open("acquire").await;
    let db = Database::builder(SqlitePool::connect_lazy(&bank.url).unwrap()).build().unwrap();
    move_to_third(db.pool(), 10).await.unwrap();
    let moved = db.transaction("move", async |mut tx| {
        move_to_third(&mut tx, 10).await?;
        // The first account doesn't go below zero: the helper drops its savepoint, and both of its statements are undone alone.
        move_to_third(&mut tx, 200).await.unwrap_err();
        let conn = (&mut tx).acquire().await?;
        query("UPDATE accounts SET balance = 1 WHERE id = 2").execute(conn).await?;
        Ok::<_, AppError>(())
    });
    moved.await.unwrap();
    let balances = [bank.balance_of(1).await, bank.balance_of(2).await, bank.balance_of(3).await];
    assert_eq!(balances, [80, 1, 120]);

    // A savepoint of the helper's that was released ends with the transaction.
    let fails = db.transaction("move", async |mut tx| {
        move_to_third(&mut tx, 10).await?;
        Err::<(), _>(AppError::Own("no"))
    });
    fails.await.unwrap_err();
    assert_eq!(bank.balance_of(3).await, 120);
    bank.assert_free().await;
}
