//! Rows of a stream that its closure dropped, and that come without end.

use diesel_async::{AsyncPgConnection, RunQueryDsl, pooled_connection::deadpool::Pool};
use futures_util::StreamExt;
use sqlx::{postgres::PgPoolOptions, query};
use std::{
    future::pending,
    time::{Duration, Instant},
};
use txsafe::{Error, ErrorKind, Outcome, Timeout, TxOptions};
use txsafe_conformance::{error::AppError, shop::Shop};

const ENDLESS: &str = "SELECT generate_series(1, 2000000000) AS n";

#[derive(diesel::QueryableByName)]
#[expect(dead_code, reason = "decoded and never read")]
struct Row {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    n: i32,
}

/// The server ends the statement then. The caller has its error long before.
fn options() -> TxOptions {
    TxOptions::new().statement_timeout(Duration::from_secs(6))
}

async fn assert_named(error: Error, shop: &Shop) {
    assert_eq!(*error.kind(), ErrorKind::StatementLeftRunning, "{error}");
    let text = error.to_string();
    for part in ["read the rows of a stream to their end", "still running after", ENDLESS] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(error.outcome(), Outcome::RolledBack);
    while shop.busy().await > 0 {}
    assert_eq!(shop.ask("SELECT count(*) FROM ledger").await, 0);
}

#[tokio::test]
async fn are_an_error_of_their_own_on_sqlx() {
    let shop = Shop::open("unread").await.unwrap();
    let pool = PgPoolOptions::new().max_connections(2).connect_lazy(&shop.url).unwrap();
    let db = txsafe_sqlx::Database::builder(pool).service(shop.name()).build().unwrap();
    let dropped = db.with(options()).transaction("stream", async |mut tx| {
        query("INSERT INTO ledger VALUES (1)").execute(&mut tx).await?;
        query(ENDLESS).fetch(&mut tx).next().await.unwrap()?;
        Ok::<_, AppError>(())
    });
    assert_named(dropped.await.unwrap_err().ours(), &shop).await;
}

#[tokio::test]
async fn end_with_the_deadline_on_sqlx() {
    let shop = Shop::open("unread").await.unwrap();
    let pool = PgPoolOptions::new().max_connections(2).connect_lazy(&shop.url).unwrap();
    let db = txsafe_sqlx::Database::builder(pool).service(shop.name()).build().unwrap();
    let start = Instant::now();
    // Otherwise the server would end the statement with the deadline.
    let options = TxOptions::new().statement_timeout(Timeout::Server);
    let options = options.timeout(Duration::from_millis(300));
    let late = db.with(options).transaction("stream", async |mut tx| {
        let mut rows = query(ENDLESS).fetch(&mut tx);
        rows.next().await.unwrap()?;
        pending::<Result<(), AppError>>().await
    });
    assert_eq!(*late.await.unwrap_err().ours().kind(), ErrorKind::DeadlineExceeded);
    while shop.busy().await > 0 {}
    assert!(start.elapsed() < Duration::from_secs(20), "its connection was closed at once");
}

#[tokio::test]
async fn are_an_error_of_their_own_on_diesel_async() {
    let shop = Shop::open("unread").await.unwrap();
    let pool: Pool<AsyncPgConnection> =
        Pool::builder(txsafe_diesel::manager(&shop.url)).max_size(2).build().unwrap();
    let db = txsafe_diesel::Database::builder(pool).service(shop.name()).build().unwrap();
    let dropped = db.with(options()).transaction("stream", async |mut tx| {
        diesel::sql_query("INSERT INTO ledger VALUES (1)").execute(&mut tx).await?;
        let mut rows = diesel::sql_query(ENDLESS).load_stream::<Row>(&mut tx).await?;
        rows.next().await.unwrap()?;
        drop(rows);
        Ok::<_, AppError>(())
    });
    assert_named(dropped.await.unwrap_err().ours(), &shop).await;
}
