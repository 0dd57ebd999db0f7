//! A handler whose requests have a key.

use crate::support::pool;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{Request, StatusCode};
use sqlx::raw_sql;
use tower::ServiceExt;
use txsafe_layers::{Answer, IdempotencyKey};
use txsafe_sqlx::{Database, Error, IDEMPOTENCY_KEYS_SQL, Keyed};
use txsafe_testkit::Postgres;

enum AppError {
    Sqlx(sqlx::Error),
    Txsafe(Error),
}

impl From<sqlx::Error> for AppError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlx(error)
    }
}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        Self::Txsafe(error)
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match self {
            Self::Sqlx(error) => error.to_string().into_response(),
            Self::Txsafe(error) => Answer::to(&error).into_response(),
        }
    }
}

async fn pay(key: IdempotencyKey, State(db): State<Database>) -> Result<&'static str, AppError> {
    let paid = db.idempotency_key(&key).transaction("pay", async |mut tx| {
        raw_sql("INSERT INTO payments VALUES (1)").execute(&mut tx).await?;
        Ok::<_, AppError>(())
    });
    Ok(match paid.await? {
        Keyed::Ran(()) => "paid",
        Keyed::AlreadyCommitted => "was paid before",
    })
}

/// Fails at its COMMIT.
async fn pay_twice(
    State(db): State<Database>,
    key: Option<IdempotencyKey>,
) -> Result<(), AppError> {
    assert!(key.is_none());
    let paid = db.transaction("pay twice", async |mut tx| {
        raw_sql("INSERT INTO payments VALUES (2), (2)").execute(&mut tx).await?;
        Ok::<_, AppError>(())
    });
    paid.await
}

/// Puts its caller's name in front of a key that has no room for it.
async fn pay_as_somebody(State(db): State<Database>, key: IdempotencyKey) -> Result<(), AppError> {
    let key = format!("ada/{key}");
    db.idempotency_key(&key).transaction("pay", async |_tx| Ok::<_, AppError>(())).await?;
    Ok(())
}

/// Pays an invoice once, and waits for nobody.
async fn pay_invoice(
    key: IdempotencyKey,
    State(db): State<Database>,
    Path(invoice): Path<i64>,
) -> Result<(), AppError> {
    let keyed = db.idempotency_key(&key).fingerprint(invoice.to_be_bytes()).nowait();
    keyed.transaction("pay", async |_tx| Ok::<_, AppError>(())).await?;
    Ok(())
}

async fn answered(app: &Router, path: &str, key: Option<&str>) -> (StatusCode, String) {
    let mut request = Request::post(path);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1_000).await.unwrap();
    (status, String::from_utf8(body.into()).unwrap())
}

#[tokio::test]
async fn a_key_goes_from_the_header_to_the_database() {
    let schema = Postgres::shared().await.unwrap().schema("axum").await.unwrap();
    let pool = pool(schema.url());
    raw_sql(IDEMPOTENCY_KEYS_SQL).execute(&pool).await.unwrap();
    let table = "CREATE TABLE payments (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)";
    raw_sql(table).execute(&pool).await.unwrap();
    let db = Database::builder(pool).build().unwrap();
    let app = Router::new()
        .route("/pay", post(pay))
        .route("/twice", post(pay_twice))
        .route("/as", post(pay_as_somebody))
        .route("/invoices/{id}", post(pay_invoice))
        .with_state(db.clone());

    assert_eq!(answered(&app, "/pay", Some("k")).await, (StatusCode::OK, "paid".into()));
    assert_eq!(answered(&app, "/pay", Some("k")).await, (StatusCode::OK, "was paid before".into()));
    let (status, body) = answered(&app, "/pay", None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.starts_with("the header Idempotency-Key is missing"), "{body}");
    let (status, body) = answered(&app, "/twice", None).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(body.starts_with("Nothing was changed.") && !body.contains("payments"), "{body}");
    let (status, _) = answered(&app, "/as", Some(&"k".repeat(512))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    for (invoice, expected) in
        [(1, StatusCode::OK), (1, StatusCode::OK), (2, StatusCode::UNPROCESSABLE_ENTITY)]
    {
        let (status, body) = answered(&app, &format!("/invoices/{invoice}"), Some("once")).await;
        assert_eq!(status, expected, "{body}");
    }
    let running = db.idempotency_key("running").begin("pay").await.unwrap();
    let (status, body) = answered(&app, "/invoices/1", Some("running")).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(body.contains("still running"), "{body}");
    drop(running);
}
