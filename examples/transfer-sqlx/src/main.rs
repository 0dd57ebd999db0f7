//! A transfer between accounts, on SQLx.
//!
//! `transfer-diesel-async` and `transfer-diesel` are the same program. What differs is the adapter, and how its driver
//! writes a query.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line talks that way")]

use futures_util::future::try_join_all;
use sqlx::{PgExecutor, PgPool, postgres::PgPoolOptions, query, query_scalar, raw_sql};
use std::error::Error as StdError;
use txsafe_sqlx::{Database, Error};
use txsafe_testkit::Postgres;

const TABLE: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
    INSERT INTO accounts VALUES (1, 100), (2, 100)";

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let schema = Postgres::shared().await?.schema("transfer").await?;
    let db = connect(schema.url())?;
    raw_sql(TABLE).execute(db.pool()).await?;

    // In either direction at once, which is how deadlocks are made.
    let transfers = (0..20).map(|n| match n % 2 {
        0 => transfer(&db, 1, 2, 5),
        _ => transfer(&db, 2, 1, 5),
    });
    try_join_all(transfers).await?;

    let left = transfer(&db, 1, 2, 30).await?;
    println!("account 1 has {left} left");
    match transfer(&db, 1, 2, 1_000).await {
        Err(AppError::TooPoor) => println!("account 1 doesn't have 1000"),
        other => return Err(format!("not refused: {other:?}").into()),
    }
    println!("together they have {}", total(db.pool()).await?);
    Ok(())
}

fn connect(url: &str) -> Result<Database, Box<dyn StdError>> {
    let pool: PgPool = PgPoolOptions::new().max_connections(4).connect_lazy(url)?;
    Ok(Database::builder(pool).service("bank").build()?)
}

/// Moves an amount, and tells what is left.
async fn transfer(db: &Database, from: i32, to: i32, amount: i64) -> Result<i64, AppError> {
    db.transaction("transfer", async |mut tx| {
        let left = take(&mut tx, from, amount).await?.ok_or(AppError::TooPoor)?;
        give(&mut tx, to, amount).await?;
        if amount > 10 {
            tx.after_commit(async move || println!("a letter to the owner of account {to}"));
        }
        Ok(left)
    })
    .await
}

/// What is left, or `None` if there isn't enough.
async fn take(db: impl PgExecutor<'_>, id: i32, amount: i64) -> sqlx::Result<Option<i64>> {
    query_scalar!(
        "UPDATE accounts SET balance = balance - $2 WHERE id = $1 AND balance >= $2
         RETURNING balance",
        id,
        amount,
    )
    .fetch_optional(db)
    .await
}

async fn give(db: impl PgExecutor<'_>, id: i32, amount: i64) -> sqlx::Result<()> {
    query!("UPDATE accounts SET balance = balance + $2 WHERE id = $1", id, amount)
        .execute(db)
        .await
        .map(drop)
}

async fn total(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    query_scalar!(r#"SELECT sum(balance)::bigint AS "total!" FROM accounts"#).fetch_one(db).await
}

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("there isn't enough on the account")]
    TooPoor,
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    #[error(transparent)]
    Txsafe(#[from] Error),
}
