//! A transfer between accounts, on diesel-async.
//!
//! `transfer-sqlx` and `transfer-diesel` are the same program. What differs is the adapter, and how its driver
//! writes a query.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line talks that way")]

use diesel::prelude::*;
use diesel_async::{
    AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, pooled_connection::deadpool::Pool,
};
use futures_util::future::try_join_all;
use std::error::Error as StdError;
use txsafe_diesel::{Database, Error, manager};
use txsafe_testkit::Postgres;

mod schema {
    diesel::table! {
        accounts (id) {
            id -> Integer,
            balance -> BigInt,
        }
    }
}
use schema::accounts;

const TABLE: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
    INSERT INTO accounts VALUES (1, 100), (2, 100)";

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let schema = Postgres::shared().await?.schema("transfer").await?;
    let db = connect(schema.url())?;
    db.pool().get().await?.batch_execute(TABLE).await?;

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
    println!("together they have {}", total(&mut *db.pool().get().await?).await?);
    Ok(())
}

fn connect(url: &str) -> Result<Database, Box<dyn StdError>> {
    let pool: Pool<AsyncPgConnection> = Pool::builder(manager(url)).max_size(4).build()?;
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
async fn take(db: &mut AsyncPgConnection, id: i32, amount: i64) -> QueryResult<Option<i64>> {
    diesel::update(accounts::table.find(id).filter(accounts::balance.ge(amount)))
        .set(accounts::balance.eq(accounts::balance - amount))
        .returning(accounts::balance)
        .get_result(db)
        .await
        .optional()
}

async fn give(db: &mut AsyncPgConnection, id: i32, amount: i64) -> QueryResult<()> {
    diesel::update(accounts::table.find(id))
        .set(accounts::balance.eq(accounts::balance + amount))
        .execute(db)
        .await
        .map(drop)
}

async fn total(db: &mut AsyncPgConnection) -> QueryResult<i64> {
    Ok(accounts::table.select(accounts::balance).load::<i64>(db).await?.into_iter().sum())
}

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("there isn't enough on the account")]
    TooPoor,
    #[error(transparent)]
    Diesel(#[from] diesel::result::Error),
    #[error(transparent)]
    Txsafe(#[from] Error),
}
