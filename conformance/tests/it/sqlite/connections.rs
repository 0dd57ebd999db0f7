//! The connection: one that the caller holds, and what a transaction leaves on one of a pool.

use super::bank::{Bank, MS};
use sqlx::{query_scalar, sqlite::SqlitePoolOptions};
use txsafe::{ErrorKind, TxOptions};
use txsafe_conformance::{
    drivers::Call,
    error::AppError,
    script::{Script, Step},
};
use txsafe_sqlx::sqlite;

#[tokio::test]
async fn a_connection_goes_back_as_it_came() {
    let bank = Bank::open("restored").await;
    let pool = SqlitePoolOptions::new().max_connections(1).connect(&bank.url).await.unwrap();
    let settings = async || -> (i64, i64) {
        let timeout = query_scalar("PRAGMA busy_timeout").fetch_one(&pool).await.unwrap();
        (timeout, query_scalar("PRAGMA query_only").fetch_one(&pool).await.unwrap())
    };
    let before = settings().await;
    let db = sqlite::Database::builder(pool.clone()).build().unwrap();
    let refused =
        db.with(TxOptions::new().lock_timeout(20 * MS)).transaction("order", async |mut tx| {
            sqlx::query("INSERT INTO orders VALUES (4711)").execute(&mut tx).await?;
            Ok::<_, AppError>(())
        });
    refused.await.unwrap_err();
    assert_eq!(settings().await, before, "COMMIT was refused");
    for read_only in [false, true] {
        for fails in [false, true] {
            let options = TxOptions::new().lock_timeout(20 * MS).read_only(read_only);
            let ended = db.with(options).transaction("settings", async |mut tx| {
                sqlx::query("UPDATE accounts SET balance = 7 WHERE id = 1")
                    .execute(&mut tx)
                    .await?;
                if fails { Err(AppError::Own("no")) } else { Ok(()) }
            });
            assert_eq!(ended.await.is_ok(), !read_only && !fails);
            assert_eq!(settings().await, before, "read only: {read_only}, fails: {fails}");
        }
    }
    let count: i64 = db
        .with(TxOptions::new().read_only(true))
        .transaction("reads", async |mut tx| {
            let count = query_scalar("SELECT count(*) FROM accounts").fetch_one(&mut tx).await?;
            Ok::<_, AppError>(count)
        })
        .await
        .unwrap();
    assert_eq!((count, settings().await), (3, before));
    // An application's own is left as it is.
    sqlx::query("PRAGMA query_only = 1").execute(&pool).await.unwrap();
    let reads = db.with(TxOptions::new().read_only(true));
    reads.transaction("reads", async |_tx| Ok::<_, AppError>(())).await.unwrap();
    assert_eq!(settings().await, (before.0, 1));
}

#[tokio::test]
async fn on_a_connection_that_the_caller_holds() {
    let bank = Bank::open("held").await;
    let credit = || Script::new([Step::Credit(1, 5)]);
    bank.db.run_on("SELECT 1", Call::new("held"), credit(), "SELECT 1").await.unwrap();
    let error = bank.db.run_on("BEGIN", Call::new("held"), credit(), "ROLLBACK").await;
    assert_eq!(*error.unwrap_err().ours().kind(), ErrorKind::OpenTransaction);
    assert_eq!(bank.balance_of(1).await, 105);
    bank.assert_free().await;
}

#[tokio::test]
async fn on_a_held_connection_whose_transaction_has_gone() {
    let bank = Bank::open("held_gone").await;
    for gone in ["COMMIT", "INSERT OR ROLLBACK INTO accounts VALUES (1, 0)"] {
        let script = Script::new([Step::Swallow(gone.into())]);
        let ended = bank.db.run_on("SELECT 1", Call::new("held"), script, "SELECT 1").await;
        assert!(ended.is_err(), "{gone}");
        bank.assert_free().await;
    }
}
