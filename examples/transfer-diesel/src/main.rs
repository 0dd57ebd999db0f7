//! A transfer between accounts, on Diesel's blocking connections.
//!
//! `transfer-diesel-async` and `transfer-sqlx` are the same program. What differs is the adapter, and how its driver
//! writes a query.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line talks that way")]

use diesel::{
    PgConnection,
    connection::SimpleConnection,
    prelude::*,
    r2d2::{ConnectionManager, Pool},
};
use std::{error::Error as StdError, thread};
use txsafe_diesel::{Error, blocking::Database};
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

fn main() -> Result<(), Box<dyn StdError>> {
    let schema = Postgres::shared_blocking()?.schema_blocking("transfer")?;
    let db = connect(schema.url())?;
    db.pool().get()?.batch_execute(TABLE)?;

    // In either direction at once, which is how deadlocks are made.
    thread::scope(|scope| {
        let transfers = [(1, 2), (2, 1), (1, 2), (2, 1)].map(|(from, to)| {
            let db = &db;
            scope.spawn(move || (0..5).try_for_each(|_| transfer(db, from, to, 5).map(drop)))
        });
        transfers.into_iter().try_for_each(|transfer| match transfer.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;

    let left = transfer(&db, 1, 2, 30)?;
    println!("account 1 has {left} left");
    match transfer(&db, 1, 2, 1_000) {
        Err(AppError::TooPoor) => println!("account 1 doesn't have 1000"),
        other => return Err(format!("not refused: {other:?}").into()),
    }
    println!("together they have {}", total(&mut *db.pool().get()?)?);
    Ok(())
}

fn connect(url: &str) -> Result<Database, Box<dyn StdError>> {
    let pool = Pool::builder().max_size(4).build(ConnectionManager::<PgConnection>::new(url))?;
    Ok(Database::builder(pool).service("bank").build()?)
}

/// Moves an amount, and tells what is left.
fn transfer(db: &Database, from: i32, to: i32, amount: i64) -> Result<i64, AppError> {
    db.transaction("transfer", |mut tx| {
        let left = take(&mut tx, from, amount)?.ok_or(AppError::TooPoor)?;
        give(&mut tx, to, amount)?;
        if amount > 10 {
            tx.after_commit(move || println!("a letter to the owner of account {to}"));
        }
        Ok(left)
    })
}

/// What is left, or `None` if there isn't enough.
fn take(db: &mut PgConnection, id: i32, amount: i64) -> QueryResult<Option<i64>> {
    diesel::update(accounts::table.find(id).filter(accounts::balance.ge(amount)))
        .set(accounts::balance.eq(accounts::balance - amount))
        .returning(accounts::balance)
        .get_result(db)
        .optional()
}

fn give(db: &mut PgConnection, id: i32, amount: i64) -> QueryResult<()> {
    diesel::update(accounts::table.find(id))
        .set(accounts::balance.eq(accounts::balance + amount))
        .execute(db)
        .map(drop)
}

fn total(db: &mut PgConnection) -> QueryResult<i64> {
    Ok(accounts::table.select(accounts::balance).load::<i64>(db)?.into_iter().sum())
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
