//! Two databases of different kinds in one program: each keeps its own transaction, and one function serves both.

use sqlx::{PgPool, SqlitePool, query, query_scalar, sqlite::SqlitePoolOptions};
use txsafe::{AsyncFuncMut, Database, NoOrder, Unlocked, driver::AsyncDriver};
use txsafe_conformance::{error::AppError, shop::Shop};
use txsafe_sqlx::sqlite;

/// A wrapper as services have them, over whichever database.
async fn logged<D, T, F>(db: &Database<D>, name: &str, body: F) -> Result<T, AppError>
where
    D: AsyncDriver,
    T: Send,
    F: for<'c> AsyncFnMut(D::Tx<'c, NoOrder, Unlocked>) -> Result<T, AppError>
        + for<'c> AsyncFuncMut<D::Tx<'c, NoOrder, Unlocked>, Result<T, AppError>, Fut: Send>
        + Send,
{
    db.transaction(name, body).await
}

#[tokio::test]
async fn a_cache_in_sqlite_beside_postgresql() {
    let shop = Shop::open("two_engines").await.unwrap();
    let pool = PgPool::connect_lazy(&shop.url).unwrap();
    let db = txsafe_sqlx::Database::builder(pool).build().unwrap();
    // One connection: a database in memory is that of its connection.
    let pool: SqlitePool =
        SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    query("CREATE TABLE seen (id INTEGER PRIMARY KEY, balance INTEGER)")
        .execute(&pool)
        .await
        .unwrap();
    let cache = sqlite::Database::builder(pool).build().unwrap();

    // A transaction on one inside a transaction on the other is no nested one.
    let balance = logged(&db, "pay", async |mut tx| {
        let pay = "UPDATE accounts SET balance = balance - 30 WHERE id = 1 RETURNING balance";
        let balance: i64 = query_scalar(pay).fetch_one(&mut tx).await?;
        logged(&cache, "remember", async |mut tx| {
            let remember = query("INSERT INTO seen VALUES (1, $1)").bind(balance);
            remember.execute(&mut tx).await?;
            Ok(())
        })
        .await?;
        Ok(balance)
    })
    .await
    .unwrap();
    let seen: i64 = logged(&cache, "look", async |mut tx| {
        Ok(query_scalar("SELECT balance FROM seen WHERE id = 1").fetch_one(&mut tx).await?)
    })
    .await
    .unwrap();
    assert_eq!((balance, seen, shop.balance_of(1).await), (70, 70, 70));
}
