//! Who may take the transaction, and who may hold it.

use super::support::{
    Tx, assert_credits, assert_mistake, credit, database, open, post, serving, with_one,
};
use crate::{
    captured_log::Log,
    words::{CREDIT, Words, on_all},
};
use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Request},
    http::StatusCode,
    middleware::{Next, from_fn},
    response::Response,
    routing,
};
use futures_util::{FutureExt, StreamExt, stream};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use txsafe_layers::{RequestTxError, RequestTxErrorKind, TransactionLayer};

on_all![
    twice_in_a_handler_is_an_error,
    beside_a_middleware_it_is_an_error,
    a_handler_answers_to_its_rejection,
    without_the_layer_it_is_an_error,
    a_task_that_holds_it_keeps_it_from_commit,
    a_task_that_holds_it_leaves_an_error_as_it_is,
    a_body_that_holds_it_keeps_it_from_commit,
    behind_the_response_there_is_none,
    one_that_goes_away_while_it_begins_leaves_it_to_the_next,
];

const TAKEN: &str = "the transaction of this request is taken already: take `RequestTx` once";

async fn twice_in_a_handler_is_an_error<D: Words>() {
    async fn handler<D: Words>(_one: Tx<D>, _two: Tx<D>) {}
    let log = Log::default();
    let _hears = log.listen();
    let shop = open().await;
    let app = serving(database::<D>(&shop), handler::<D>);
    let answered = post(&app, "/").await;
    assert_mistake(&answered, TAKEN);
    assert_credits(&shop, 0).await;
    // The developer reads it in the log as well, and once.
    let log = log.text();
    assert_eq!(log.matches(TAKEN).count(), 1, "{log}");
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(TAKEN)), "{log}");
}

async fn beside_a_middleware_it_is_an_error<D: Words>() {
    async fn holds<D: Words>(mut tx: Tx<D>, request: Request, next: Next) -> Response {
        D::run(&mut tx, CREDIT).await.unwrap();
        let response = next.run(request).await;
        drop(tx);
        response
    }
    let shop = open().await;
    let app = Router::new()
        .route("/", routing::post(credit::<D>))
        .layer(from_fn(holds::<D>))
        .layer(TransactionLayer::new(database::<D>(&shop)));
    let answered = post(&app, "/").await;
    assert_mistake(&answered, TAKEN);
    assert!(answered.body.contains("drop it before `next.run(request)`"), "{}", answered.body);
    assert_credits(&shop, 0).await;
}

async fn a_handler_answers_to_its_rejection<D: Words>() {
    async fn handler<D: Words>(mut one: Tx<D>, two: Result<Tx<D>, RequestTxError>) -> &'static str {
        D::run(&mut one, CREDIT).await.unwrap();
        let error = two.unwrap_err();
        assert!(matches!(error.kind(), RequestTxErrorKind::AlreadyTaken), "{error}");
        "with one"
    }
    let shop = open().await;
    let app = serving(database::<D>(&shop), handler::<D>);
    assert_eq!(post(&app, "/").await.body, "with one");
    assert_credits(&shop, 1).await;
}

async fn without_the_layer_it_is_an_error<D: Words>() {
    let app = Router::new().route("/", routing::post(credit::<D>));
    let answered = post(&app, "/").await;
    assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
    let cure = "is around this handler: add `.layer(TransactionLayer::new(db))`";
    assert!(answered.body.starts_with("no `TransactionLayer` of `txsafe::"), "{}", answered.body);
    assert!(answered.body.contains(cure), "{}", answered.body);
}

/// Hands its transaction to a task, which lets it go when it is told to.
fn leaking<D: Words>(
    status: StatusCode,
    go: oneshot::Receiver<()>,
    gone: oneshot::Sender<()>,
) -> Router {
    let ends = Arc::new(Mutex::new(Some((go, gone))));
    let handler = async move |mut tx: Tx<D>| {
        D::run(&mut tx, CREDIT).await.unwrap();
        let (go, gone) = ends.lock().unwrap().take().unwrap();
        tokio::spawn(async move {
            go.await.unwrap();
            D::run(&mut tx, CREDIT).await.unwrap();
            drop(tx);
            gone.send(()).unwrap();
        });
        status
    };
    Router::new().route("/", routing::post(handler))
}

async fn a_task_that_holds_it_keeps_it_from_commit<D: Words>() {
    let shop = open().await;
    let ((go, wait), (gone, end)) = (oneshot::channel(), oneshot::channel());
    let layer = TransactionLayer::new(database::<D>(&shop));
    let app = leaking::<D>(StatusCode::OK, wait, gone).layer(layer);
    let answered = post(&app, "/").await;
    assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
    let why = "the transaction was not committed, because it was still held when the response came";
    assert!(answered.body.starts_with(why), "{}", answered.body);
    go.send(()).unwrap();
    end.await.unwrap();
    assert_credits(&shop, 0).await;
}

async fn a_task_that_holds_it_leaves_an_error_as_it_is<D: Words>() {
    let shop = open().await;
    let ((go, wait), (gone, end)) = (oneshot::channel(), oneshot::channel());
    let layer = TransactionLayer::new(database::<D>(&shop));
    let app = leaking::<D>(StatusCode::CONFLICT, wait, gone).layer(layer);
    assert_eq!(post(&app, "/").await.status, StatusCode::CONFLICT);
    go.send(()).unwrap();
    end.await.unwrap();
    assert_credits(&shop, 0).await;
}

async fn a_body_that_holds_it_keeps_it_from_commit<D: Words>() {
    async fn handler<D: Words>(mut tx: Tx<D>) -> Body {
        D::run(&mut tx, CREDIT).await.unwrap();
        let rows = stream::once(async move {
            D::run(&mut tx, "SELECT 1").await.map(|()| "rows").map_err(std::io::Error::other)
        });
        Body::from_stream(rows.boxed())
    }
    let shop = open().await;
    let app = serving(database::<D>(&shop), handler::<D>);
    let answered = post(&app, "/").await;
    assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answered.body.contains("or by the body of the response"), "{}", answered.body);
    assert_credits(&shop, 0).await;
}

async fn behind_the_response_there_is_none<D: Words>() {
    let shop = open().await;
    let kept = Arc::<Mutex<Option<axum::http::request::Parts>>>::default();
    let keep = Arc::clone(&kept);
    let handler = async move |request: Request| {
        *keep.lock().unwrap() = Some(request.into_parts().0);
    };
    let app = serving(database::<D>(&shop), handler);
    assert_eq!(post(&app, "/").await.status, StatusCode::OK);
    let mut parts = kept.lock().unwrap().take().unwrap();
    let error = Tx::<D>::from_request_parts(&mut parts, &()).await.unwrap_err();
    assert!(matches!(error.kind(), RequestTxErrorKind::RequestEnded), "{error}");
    assert!(shop.backends().await.is_empty());
}

/// The pool is exhausted while the first one waits for it.
async fn one_that_goes_away_while_it_begins_leaves_it_to_the_next<D: Words>() {
    let shop = open().await;
    let db = with_one::<D>(&shop, &shop.url);
    let elsewhere = Arc::new(Mutex::new(Some(db.begin("elsewhere").await.unwrap())));
    let handler = async move |request: Request| {
        let (mut parts, _) = request.into_parts();
        let mut first = Box::pin(Tx::<D>::from_request_parts(&mut parts, &()));
        assert!((&mut first).now_or_never().is_none());
        drop(first);
        let elsewhere = elsewhere.lock().unwrap().take().unwrap();
        elsewhere.rollback().await.unwrap();
        let mut tx = Tx::<D>::from_request_parts(&mut parts, &()).await.unwrap();
        D::run(&mut tx, CREDIT).await.unwrap();
    };
    let app = serving(db, handler);
    assert_eq!(post(&app, "/").await.status, StatusCode::OK);
    assert_credits(&shop, 1).await;
}
