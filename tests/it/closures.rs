//! The closures of handlers: spawned, in axum, borrowing what they need.

use crate::support::{AppError, Shop, accounts, credit};
use axum::{Router, extract::State, routing::post};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use txsafe_diesel::{Database, Tx};

#[tokio::test]
async fn spawned_and_borrowing() {
    let shop = Shop::open("spawned").await;
    let db = shop.db.clone();
    let task = tokio::spawn(async move {
        let (ids, label) = (vec![1, 2, 3], String::from("borrowed by the closure"));
        let length = db.transaction("spawned", async |mut tx| {
            for id in &ids {
                credit(&mut tx, *id, 1).await?;
            }
            Ok::<_, AppError>(label.len())
        });
        length.await
    });
    assert_eq!(task.await.unwrap().unwrap(), 23);
    assert_eq!(shop.ask("SELECT sum(balance)::bigint FROM accounts").await, 1_003);
}

#[tokio::test]
async fn functions_take_the_transaction() {
    async fn body(mut tx: Tx<'_>) -> Result<i64, AppError> {
        raise_by(&mut tx, 4).await
    }
    async fn raise_by(tx: &mut Tx<'_>, amount: i64) -> Result<i64, AppError> {
        credit(tx, 1, amount).await?;
        Ok(accounts::table.find(1).select(accounts::balance).first(tx).await?)
    }
    let shop = Shop::open("functions").await;
    assert_eq!(shop.db.transaction("a function", body).await.unwrap(), 104);
}

#[tokio::test]
async fn in_an_axum_handler() {
    async fn pay(State(db): State<Database>) -> String {
        let payer = 1;
        let paid = db.transaction("pay", async |mut tx| {
            credit(&mut tx, payer, -10).await?;
            credit(&mut tx, 2, 10).await?;
            Ok::<_, AppError>(())
        });
        format!("{:?}", paid.await)
    }
    let shop = Shop::open("axum").await;
    let app = Router::new().route("/pay", post(pay)).with_state(shop.db.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(b"POST /pay HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("Ok(())"), "{answer}");
    assert_eq!(shop.balance_of(2).await, 110);
}
