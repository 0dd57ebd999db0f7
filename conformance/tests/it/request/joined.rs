//! Helpers that get the transaction of a request, in the types of each adapter.

use super::support::{assert_credits, open, post, serving};
use crate::words::CREDIT;
use axum::{Router, http::StatusCode, routing};
use diesel_async::{SimpleAsyncConnection, pooled_connection::deadpool};
use sqlx::Executor;
use txsafe_layers::{RequestTx, TransactionLayer};

/// A helper that begins or joins, and one that takes a `Tx`.
macro_rules! joins {
    ($test:ident, $driver:ident, |$tx:ident| $run:expr, |$url:ident| $pool:expr) => {
        mod $test {
            use super::*;
            use $driver::{Database, Error, Transact, Tx};

            async fn joins(on: impl Transact) -> Result<(), Error> {
                on.transaction("joins", async |mut $tx| {
                    $run.await.unwrap();
                    Ok(())
                })
                .await
            }

            async fn takes($tx: &mut Tx<'_>) {
                $run.await.unwrap();
            }

            async fn handler(mut tx: RequestTx<Database>) -> StatusCode {
                joins(&mut tx).await.unwrap();
                takes(&mut tx).await;
                takes(&mut tx.lend()).await;
                let fails = tx.savepoint(async |mut $tx| {
                    $run.await.unwrap();
                    Err::<(), _>(AppError)
                });
                fails.await.unwrap_err();
                StatusCode::OK
            }

            #[tokio::test]
            async fn a_helper_gets_it() {
                let shop = open().await;
                let $url = &shop.url;
                let db = Database::builder($pool).service(shop.name()).build().unwrap();
                let app = serving(db, handler);
                assert_eq!(post(&app, "/").await.status, StatusCode::OK);
                assert_credits(&shop, 3).await;
            }
        }
    };
}

#[derive(Debug)]
struct AppError;

impl From<txsafe::Error> for AppError {
    fn from(_: txsafe::Error) -> Self {
        Self
    }
}

joins!(over_sqlx, txsafe_sqlx, |tx| tx.execute(CREDIT), |url| sqlx::PgPool::connect_lazy(url)
    .unwrap());
joins!(over_diesel_async, txsafe_diesel, |tx| tx.batch_execute(CREDIT), |url| {
    deadpool::Pool::builder(txsafe_diesel::manager(url)).build().unwrap()
});

#[tokio::test]
async fn sqlite_has_it_too() {
    use txsafe_sqlx::sqlite::Database;
    type Tx = RequestTx<Database>;

    async fn write(mut tx: Tx) -> StatusCode {
        tx.execute("INSERT INTO orders VALUES (1)").await.unwrap();
        StatusCode::CREATED
    }
    async fn refuse(mut tx: Tx) -> StatusCode {
        tx.execute("INSERT INTO orders VALUES (2)").await.unwrap();
        StatusCode::CONFLICT
    }
    let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect("sqlite::memory:").await.unwrap();
    pool.execute("CREATE TABLE orders (id INTEGER)").await.unwrap();
    let app = Router::new()
        .route("/write", routing::post(write))
        .route("/refuse", routing::post(refuse))
        .layer(TransactionLayer::new(Database::builder(pool.clone()).build().unwrap()));
    assert_eq!(post(&app, "/write").await.status, StatusCode::CREATED);
    assert_eq!(post(&app, "/refuse").await.status, StatusCode::CONFLICT);
    let orders: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM orders").fetch_all(&pool).await.unwrap();
    assert_eq!(orders, [1]);
}
