//! Requests that don't come to their response, or to another one than their handler's.

use super::support::{Tx, assert_credits, database, open, post, request, serving, until};
use crate::words::{CREDIT, Words, on_all};
use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Request, State},
    http::{Response as HttpResponse, StatusCode, request::Parts},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing,
};
use futures_util::FutureExt;
use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
};
use tokio::sync::Notify;
use tower::{Layer, ServiceExt, service_fn};
use txsafe_layers::TransactionLayer;

on_all![
    an_error_of_the_handler_rolls_back,
    an_error_of_the_service_rolls_back,
    a_panic_rolls_back,
    a_panic_that_is_answered_rolls_back,
    a_panic_that_is_answered_with_success_is_told,
    a_panic_of_code_that_holds_nothing_is_what_its_response_says,
    a_handler_that_is_dropped_rolls_back,
    one_that_is_dropped_while_others_keep_its_request_rolls_back,
    one_that_is_dropped_in_a_statement_rolls_back,
    a_timeout_inside_rolls_back,
    a_timeout_outside_rolls_back,
];

async fn an_error_of_the_handler_rolls_back<D: Words>() {
    async fn handler<D: Words>(mut tx: Tx<D>) -> Result<(), StatusCode> {
        D::run(&mut tx, CREDIT).await.unwrap();
        D::run(&mut tx, "SELECT 1/0").await.map_err(|_| StatusCode::UNPROCESSABLE_ENTITY)
    }
    let shop = open().await;
    let app = serving(database::<D>(&shop), handler::<D>);
    assert_eq!(post(&app, "/").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_credits(&shop, 0).await;
    assert_eq!(shop.backends().await.len(), 1);
}

async fn an_error_of_the_service_rolls_back<D: Words>() {
    async fn handler<D: Words>(request: Request) -> Result<HttpResponse<Body>, &'static str> {
        let (mut parts, _) = request.into_parts();
        let mut tx = Tx::<D>::from_request_parts(&mut parts, &()).await.unwrap();
        D::run(&mut tx, CREDIT).await.unwrap();
        Err("broken")
    }
    let shop = open().await;
    let layer = TransactionLayer::new(database::<D>(&shop));
    let error = layer.layer(service_fn(handler::<D>)).oneshot(request("/")).await.unwrap_err();
    assert_eq!(error, "broken");
    assert_credits(&shop, 0).await;
    assert_eq!(shop.backends().await.len(), 1);
}

async fn panics<D: Words>(mut tx: Tx<D>) {
    D::run(&mut tx, CREDIT).await.unwrap();
    panic!("on purpose");
}

async fn a_panic_rolls_back<D: Words>() {
    let shop = open().await;
    let app = serving(database::<D>(&shop), panics::<D>);
    let panicked = tokio::spawn(async move { post(&app, "/").await.status }).await;
    assert!(panicked.unwrap_err().is_panic());
    assert_credits(&shop, 0).await;
}

/// What `CatchPanicLayer` of tower-http does, with a status of its own.
async fn catch(status: StatusCode, request: Request, next: Next) -> Response {
    let caught = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    caught.unwrap_or_else(|_| status.into_response())
}

async fn catch_500(request: Request, next: Next) -> Response {
    catch(StatusCode::INTERNAL_SERVER_ERROR, request, next).await
}

async fn catch_200(request: Request, next: Next) -> Response {
    catch(StatusCode::OK, request, next).await
}

async fn a_panic_that_is_answered_rolls_back<D: Words>() {
    let shop = open().await;
    let layer = TransactionLayer::new(database::<D>(&shop));
    let panics = || Router::<()>::new().route("/", routing::post(panics::<D>));
    let inside = panics().layer(from_fn(catch_500)).layer(layer.clone());
    let outside = panics().layer(layer).layer(from_fn(catch_500));
    for app in [inside, outside] {
        assert_eq!(post(&app, "/").await.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_credits(&shop, 0).await;
    }
}

async fn a_panic_that_is_answered_with_success_is_told<D: Words>() {
    let shop = open().await;
    let app = Router::new()
        .route("/", routing::post(panics::<D>))
        .layer(from_fn(catch_200))
        .layer(TransactionLayer::new(database::<D>(&shop)));
    let answered = post(&app, "/").await;
    assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
    let expected = "the transaction was rolled back, because the code that held it panicked: ";
    assert!(answered.body.starts_with(expected), "{}", answered.body);
    assert_credits(&shop, 0).await;
}

async fn a_panic_of_code_that_holds_nothing_is_what_its_response_says<D: Words>() {
    async fn panics_behind<D: Words>(mut tx: Tx<D>) {
        D::run(&mut tx, CREDIT).await.unwrap();
        drop(tx);
        panic!("on purpose");
    }
    let shop = open().await;
    let layer = TransactionLayer::new(database::<D>(&shop));
    let panics = || Router::<()>::new().route("/", routing::post(panics_behind::<D>));
    let answers_500 = panics().layer(from_fn(catch_500)).layer(layer.clone());
    let answers_200 = panics().layer(from_fn(catch_200)).layer(layer);
    for (app, status, credits) in [(answers_500, 500, 0), (answers_200, 200, 1)] {
        assert_eq!(post(&app, "/").await.status, status);
        assert_credits(&shop, credits).await;
    }
}

/// A handler that has written something, says so, and never ends.
async fn hang<D: Words>(mut tx: Tx<D>, wrote: Arc<Notify>) {
    D::run(&mut tx, CREDIT).await.unwrap();
    wrote.notify_one();
    std::future::pending::<()>().await;
}

fn hanging<D: Words>(wrote: &Arc<Notify>) -> Router {
    let wrote = Arc::clone(wrote);
    Router::new().route("/", routing::post(move |tx: Tx<D>| hang::<D>(tx, wrote)))
}

async fn a_handler_that_is_dropped_rolls_back<D: Words>() {
    let shop = open().await;
    let wrote = Arc::<Notify>::default();
    let layer = TransactionLayer::new(database::<D>(&shop));
    let app = hanging::<D>(&wrote).layer(layer);
    let of_client = app.clone();
    let client = tokio::spawn(async move { post(&of_client, "/").await.status });
    wrote.notified().await;
    let backends = shop.backends().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_credits(&shop, 0).await;
    // Nothing was in flight, so the pool has the connection again.
    assert_eq!(shop.backends().await, backends);
    drop(app);
}

async fn one_that_is_dropped_while_others_keep_its_request_rolls_back<D: Words>() {
    let shop = open().await;
    let (wrote, kept) = (Arc::<Notify>::default(), Arc::<Mutex<Option<Parts>>>::default());
    let (write, keep) = (Arc::clone(&wrote), Arc::clone(&kept));
    let handler = async move |request: Request| {
        let (mut parts, _) = request.into_parts();
        let mut tx = Tx::<D>::from_request_parts(&mut parts, &()).await.unwrap();
        D::run(&mut tx, CREDIT).await.unwrap();
        drop(tx);
        *keep.lock().unwrap() = Some(parts);
        write.notify_one();
        std::future::pending::<()>().await;
    };
    let app = serving(database::<D>(&shop), handler);
    let client = tokio::spawn(async move { post(&app, "/").await.status });
    wrote.notified().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_credits(&shop, 0).await;
    assert!(kept.lock().unwrap().is_some());
}

async fn one_that_is_dropped_in_a_statement_rolls_back<D: Words>() {
    async fn handler<D: Words>(mut tx: Tx<D>) {
        D::run(&mut tx, CREDIT).await.unwrap();
        D::run(&mut tx, "SELECT pg_sleep(600)").await.unwrap();
    }
    let shop = open().await;
    let app = serving(database::<D>(&shop), handler::<D>);
    let client = tokio::spawn(async move { post(&app, "/").await.status });
    let sleeps = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE application_name LIKE '{}%' AND wait_event = 'PgSleep'",
        shop.name()
    );
    until(&shop, &sleeps).await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    assert_credits(&shop, 0).await;
}

/// What tower's timeout does, when the test says that the time is up.
async fn time_out(State(wrote): State<Arc<Notify>>, request: Request, next: Next) -> Response {
    tokio::select! {
        response = next.run(request) => response,
        () = wrote.notified() => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

async fn a_timeout_inside_rolls_back<D: Words>() {
    let shop = open().await;
    let wrote = Arc::<Notify>::default();
    let app = hanging::<D>(&wrote)
        .layer(from_fn_with_state(wrote, time_out))
        .layer(TransactionLayer::new(database::<D>(&shop)));
    assert_eq!(post(&app, "/").await.status, StatusCode::REQUEST_TIMEOUT);
    assert_credits(&shop, 0).await;
}

async fn a_timeout_outside_rolls_back<D: Words>() {
    let shop = open().await;
    let wrote = Arc::<Notify>::default();
    let app = hanging::<D>(&wrote)
        .layer(TransactionLayer::new(database::<D>(&shop)))
        .layer(from_fn_with_state(wrote, time_out));
    assert_eq!(post(&app, "/").await.status, StatusCode::REQUEST_TIMEOUT);
    assert_credits(&shop, 0).await;
}
