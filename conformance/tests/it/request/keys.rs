//! A request with an idempotency key.

use super::support::{Answered, Tx, answer, assert_credits, database, open, request, with_one};
use crate::words::{CREDIT, Words, on_all};
use axum::{
    Router,
    extract::{Path, Request},
    http::{StatusCode, header::RETRY_AFTER},
    middleware::{Next, from_fn},
    response::Response,
    routing,
};
use txsafe_conformance::shop::Shop;
use txsafe_layers::{RequestTxError, RequestTxErrorKind, TransactionLayer};
use txsafe_testkit::{At, Fault, Lab};

on_all![
    a_key_commits_once,
    a_handler_answers_to_a_key_that_has_committed,
    a_lost_commit_with_a_key_is_looked_up,
    without_the_setting_the_header_is_not_read,
    a_key_is_made_where_the_transaction_begins,
];

async fn credit<D: Words>(Path(status): Path<u16>, mut tx: Tx<D>) -> StatusCode {
    D::run(&mut tx, CREDIT).await.unwrap();
    StatusCode::from_u16(status).unwrap()
}

async fn with_key(app: &Router, path: &str, key: &'static str) -> Answered {
    let mut request = request(path);
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    answer(app, request).await
}

fn keyed<D: Words>(db: txsafe::Database<D>) -> TransactionLayer<txsafe::Database<D>> {
    TransactionLayer::new(db).idempotency_keys(|key, _| format!("ada/{key}"))
}

async fn a_key_commits_once<D: Words>() {
    let shop = open().await;
    let app = Router::new()
        .route("/{status}", routing::post(credit::<D>))
        .layer(keyed(database::<D>(&shop)));
    // What was rolled back may be tried again.
    for (path, expected) in [("/404", 404), ("/200", 200), ("/200", 409)] {
        let answered = with_key(&app, path, "one").await;
        assert_eq!(answered.status, expected, "{}", answered.body);
        if expected == 409 {
            let says = "a request with this Idempotency-Key was carried out before; ";
            assert!(answered.body.starts_with(says), "{}", answered.body);
        }
    }
    assert_credits(&shop, 1).await;
    assert_eq!(keys(&shop).await, 1);
    assert_eq!(with_key(&app, "/200", "").await.status, StatusCode::BAD_REQUEST);
    // One without a key is one without a key.
    assert_eq!(answer(&app, request("/200")).await.status, StatusCode::OK);
    assert_credits(&shop, 2).await;
}

async fn keys(shop: &Shop) -> i64 {
    let sql = "SELECT count(*) FROM txsafe_idempotency_keys WHERE key LIKE 'ada/%'";
    shop.ask(sql).await
}

async fn a_handler_answers_to_a_key_that_has_committed<D: Words>() {
    async fn handler<D: Words>(
        tx: Result<Tx<D>, RequestTxError>,
    ) -> Result<String, RequestTxError> {
        let mut tx = match tx {
            Ok(tx) => tx,
            Err(error) if matches!(error.kind(), RequestTxErrorKind::AlreadyCommitted) => {
                return Ok("was done".into());
            }
            Err(error) => return Err(error),
        };
        D::run(&mut tx, CREDIT).await.unwrap();
        Ok("done".into())
    }
    let shop = open().await;
    let app =
        Router::new().route("/", routing::post(handler::<D>)).layer(keyed(database::<D>(&shop)));
    for expected in ["done", "was done"] {
        let answered = with_key(&app, "/", "one").await;
        assert_eq!((answered.status, &*answered.body), (StatusCode::OK, expected));
    }
    assert_credits(&shop, 1).await;
}

async fn a_lost_commit_with_a_key_is_looked_up<D: Words>() {
    for (fault, expected) in [(Fault::CutAfterApplied, 200), (Fault::CutBefore, 503)] {
        let shop = open().await;
        let lab = Lab::new(&shop.url).unwrap();
        let session = lab.session().await.unwrap();
        let db = with_one::<D>(&shop, session.url());
        let app = Router::new().route("/{status}", routing::post(credit::<D>)).layer(keyed(db));
        session.inject(At::Commit, fault).unwrap();
        let answered = with_key(&app, "/200", "one").await;
        assert_eq!(answered.status, expected, "{}", answered.body);
        assert_eq!(answered.headers.contains_key(RETRY_AFTER), expected == 503);
        assert_credits(&shop, i64::from(expected == 200)).await;
    }
}

/// Middleware inside of the layer says who calls.
async fn a_key_is_made_where_the_transaction_begins<D: Words>() {
    #[derive(Clone)]
    struct User(&'static str);
    async fn is_ada(mut request: Request, next: Next) -> Response {
        request.extensions_mut().insert(User("ada"));
        next.run(request).await
    }
    let shop = open().await;
    let layer = TransactionLayer::new(database::<D>(&shop));
    let layer = layer.idempotency_keys(|key, request| match request.extensions.get::<User>() {
        Some(User(name)) => format!("{name}/{key}"),
        None => format!("anonymous/{key}"),
    });
    let app = Router::new().route("/{status}", routing::post(credit::<D>));
    let app = app.layer(from_fn(is_ada)).layer(layer);
    assert_eq!(with_key(&app, "/200", "one").await.status, StatusCode::OK);
    assert_eq!(keys(&shop).await, 1);
    assert_credits(&shop, 1).await;
}

async fn without_the_setting_the_header_is_not_read<D: Words>() {
    let shop = open().await;
    let app = Router::new()
        .route("/{status}", routing::post(credit::<D>))
        .layer(TransactionLayer::new(database::<D>(&shop)));
    for _ in 0..2 {
        assert_eq!(with_key(&app, "/200", "one").await.status, StatusCode::OK);
    }
    assert_credits(&shop, 2).await;
}
