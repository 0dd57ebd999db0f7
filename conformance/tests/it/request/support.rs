//! A shop behind a router, with whichever driver.

use crate::words::{CREDIT, Words};
use axum::{
    Router,
    body::{Body, to_bytes},
    handler::Handler,
    http::{HeaderMap, Request, StatusCode},
    routing,
};
use std::time::{Duration, Instant};
use tower::ServiceExt;
use txsafe::Database;
use txsafe_conformance::shop::Shop;
use txsafe_layers::{RequestTx, TransactionLayer};

/// The transaction of a request, as handlers take it.
pub(crate) type Tx<D> = RequestTx<Database<D>>;

pub(crate) async fn open() -> Shop {
    Shop::open("request").await.unwrap()
}

/// A database of this shop, whose connections the shop finds again while they are in a transaction.
pub(crate) fn database<D: Words>(shop: &Shop) -> Database<D> {
    D::open(&shop.url, 2).service(shop.name()).build().unwrap()
}

/// A database with one connection, over this URL to the shop.
pub(crate) fn with_one<D: Words>(shop: &Shop, url: &str) -> Database<D> {
    D::open(url, 1).service(shop.name()).build().unwrap()
}

/// An application that has this handler, and a transaction of this database for each request.
pub(crate) fn serving<D: Words, T: 'static>(
    db: Database<D>,
    handler: impl Handler<T, ()>,
) -> Router {
    Router::new().route("/", routing::post(handler)).layer(TransactionLayer::new(db))
}

/// Nothing is left in a transaction, and this much has been committed.
pub(crate) async fn assert_credits(shop: &Shop, credits: i64) {
    assert_eq!((shop.busy().await, shop.balance_of(1).await), (0, 100 + credits));
}

/// A handler that does what is worth committing.
pub(crate) async fn credit<D: Words>(mut tx: Tx<D>) {
    D::run(&mut tx, CREDIT).await.unwrap();
}

pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

pub(crate) fn request(path: &str) -> Request<Body> {
    Request::post(path).body(Body::empty()).unwrap()
}

/// The answer to a POST.
pub(crate) async fn post(app: &Router, path: &str) -> Answered {
    answer(app, request(path)).await
}

pub(crate) async fn answer(app: &Router, request: Request<Body>) -> Answered {
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, 10_000).await.unwrap();
    let body = String::from_utf8(body.into()).unwrap();
    Answered { status: parts.status, headers: parts.headers, body }
}

/// The program is wrong, and its developer reads this.
#[track_caller]
pub(crate) fn assert_mistake(answered: &Answered, says: &str) {
    assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", answered.body);
    assert!(answered.body.starts_with(says), "{}", answered.body);
}

/// Waits until this query says so.
pub(crate) async fn until(shop: &Shop, sql: &str) {
    let patience = Instant::now() + Duration::from_secs(10);
    while shop.ask(sql).await == 0 {
        assert!(Instant::now() < patience, "not in time: {sql}");
        tokio::task::yield_now().await;
    }
}
