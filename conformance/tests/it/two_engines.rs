//! Two databases of different kinds in one program: each keeps its own transaction.

use sqlx::{PgPool, SqlitePool, query, query_scalar, sqlite::SqlitePoolOptions};
use txsafe_conformance::{error::AppError, shop::Shop};
use txsafe_sqlx::sqlite;

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
    let balance = db
        .transaction("pay", async |mut tx| {
            let pay = "UPDATE accounts SET balance = balance - 30 WHERE id = 1 RETURNING balance";
            let balance: i64 = query_scalar(pay).fetch_one(&mut tx).await?;
            cache
                .transaction("remember", async |mut tx| {
                    let remember = query("INSERT INTO seen VALUES (1, $1)").bind(balance);
                    remember.execute(&mut tx).await?;
                    Ok::<_, AppError>(())
                })
                .await?;
            Ok::<_, AppError>(balance)
        })
        .await
        .unwrap();
    let seen: i64 = cache
        .transaction("look", async |mut tx| {
            let seen = query_scalar("SELECT balance FROM seen WHERE id = 1");
            Ok::<_, AppError>(seen.fetch_one(&mut tx).await?)
        })
        .await
        .unwrap();
    assert_eq!((balance, seen, shop.balance_of(1).await), (70, 70, 70));
}
