//! Requests that commit.

use super::support::{
    Tx, assert_credits, credit, database, open, post, request, serving, until, with_one,
};
use crate::words::{CREDIT, Words, on_all};
use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    http::StatusCode,
    middleware::{Next, from_fn},
    response::Response,
    routing,
};
use futures_util::{StreamExt, stream};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, mpsc, oneshot};
use tower::ServiceExt;
use txsafe::driver::async_hook;
use txsafe_conformance::shop::Shop;
use txsafe_layers::TransactionLayer;

on_all![
    nothing_begins_unless_it_is_asked_for,
    middleware_and_handler_share_one,
    it_is_committed_before_the_client_gets_its_response,
    commit_outlives_its_client,
    the_status_decides,
    another_rule_decides,
    hooks_run_once_it_has_committed,
    hooks_outlive_their_client,
    what_is_marked_rolls_back_and_is_answered,
    a_body_streams_behind_the_commit,
];

async fn nothing_begins_unless_it_is_asked_for<D: Words>() {
    let shop = open().await;
    let app = serving(database::<D>(&shop), || async {});
    assert_eq!(post(&app, "/").await.status, StatusCode::OK);
    assert!(shop.backends().await.is_empty());
}

const SEEN: &str = "INSERT INTO ledger SELECT pg_current_xact_id()::text::bigint";

async fn auth<D: Words>(mut tx: Tx<D>, request: Request, next: Next) -> Response {
    D::run(&mut tx, SEEN).await.unwrap();
    drop(tx);
    next.run(request).await
}

async fn middleware_and_handler_share_one<D: Words>() {
    async fn handler<D: Words>(mut tx: Tx<D>) {
        D::run(&mut tx, SEEN).await.unwrap();
    }
    let shop = open().await;
    let app = Router::new()
        .route("/", routing::post(handler::<D>))
        .layer(from_fn(auth::<D>))
        .layer(TransactionLayer::new(database::<D>(&shop)));
    assert_eq!(post(&app, "/").await.status, StatusCode::OK);
    let seen = shop.ask("SELECT count(*) * 10 + count(DISTINCT operation) FROM ledger").await;
    assert_eq!((seen, shop.backends().await.len()), (21, 1));
}

/// COMMIT waits for a lock that somebody else has.
async fn lock_commits(shop: &Shop) {
    let trigger = format!(
        "CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN PERFORM pg_advisory_xact_lock(hashtext('{0}')); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER waits AFTER UPDATE ON accounts DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION waits();
         SELECT pg_advisory_lock(hashtext('{0}'))",
        shop.name()
    );
    shop.watcher.batch_execute(&trigger).await.unwrap();
}

async fn commits_wait(shop: &Shop) {
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                   WHERE locktype = 'advisory' AND NOT granted AND application_name LIKE ";
    until(shop, &format!("{waiting} '{}%'", shop.name())).await;
}

async fn it_is_committed_before_the_client_gets_its_response<D: Words>() {
    let shop = open().await;
    lock_commits(&shop).await;
    let app = serving(database::<D>(&shop), credit::<D>);
    let client = tokio::spawn(async move { post(&app, "/").await.status });
    commits_wait(&shop).await;
    assert!(!client.is_finished());
    shop.watcher.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    assert_eq!(client.await.unwrap(), StatusCode::OK);
    assert_credits(&shop, 1).await;
}

async fn commit_outlives_its_client<D: Words>() {
    let shop = open().await;
    lock_commits(&shop).await;
    let (told, mut heard) = mpsc::unbounded_channel();
    let handler = async move |mut tx: Tx<D>| {
        D::run(&mut tx, CREDIT).await.unwrap();
        D::tell(&mut tx, &told);
    };
    let app = serving(database::<D>(&shop), handler);
    let client = tokio::spawn(async move { post(&app, "/").await.status });
    commits_wait(&shop).await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    shop.watcher.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    assert_eq!(heard.recv().await, Some("committed"));
    assert_credits(&shop, 1).await;
}

async fn answer_with<D: Words>(Path(status): Path<u16>, mut tx: Tx<D>) -> StatusCode {
    D::run(&mut tx, CREDIT).await.unwrap();
    StatusCode::from_u16(status).unwrap()
}

/// Asks for a response with each of these statuses, of which so many commit.
async fn assert_committing<D: Words>(
    layer: impl FnOnce(TransactionLayer<txsafe::Database<D>>) -> TransactionLayer<txsafe::Database<D>>,
    commit: &[u16],
    roll_back: &[u16],
) {
    let shop = open().await;
    // The only connection, which is to be there again.
    let db = with_one::<D>(&shop, &shop.url);
    let app = Router::new()
        .route("/{status}", routing::post(answer_with::<D>))
        .layer(layer(TransactionLayer::new(db)));
    assert!(post(&app, "/500").await.status.is_server_error());
    let backends = shop.backends().await;
    let mut credits = 0;
    for (statuses, credit) in [(commit, 1), (roll_back, 0)] {
        for status in statuses {
            let answered = post(&app, &format!("/{status}")).await;
            credits += credit;
            assert_eq!(answered.status, *status);
            assert_eq!(shop.balance_of(1).await, 100 + credits, "{status}");
        }
    }
    assert_eq!((shop.busy().await, shop.backends().await), (0, backends));
}

async fn the_status_decides<D: Words>() {
    let commit = [101, 200, 201, 204, 301, 302, 303, 304, 307, 308];
    assert_committing::<D>(|layer| layer, &commit, &[400, 401, 404, 409, 422, 500, 503, 600]).await;
}

async fn another_rule_decides<D: Words>() {
    let success = |layer: TransactionLayer<txsafe::Database<D>>| {
        layer.commit_if(|response| response.status().is_success())
    };
    assert_committing::<D>(success, &[200, 204], &[303, 307, 404]).await;
}

async fn hooks_run_once_it_has_committed<D: Words>() {
    let shop = open().await;
    let (told, mut heard) = mpsc::unbounded_channel();
    let handler = async move |Path(status): Path<u16>, mut tx: Tx<D>| {
        D::run(&mut tx, CREDIT).await.unwrap();
        D::tell(&mut tx, &told);
        StatusCode::from_u16(status).unwrap()
    };
    let app = Router::new()
        .route("/{status}", routing::post(handler))
        .layer(TransactionLayer::new(database::<D>(&shop)));
    for (path, told) in [("/200", "committed"), ("/500", "rolled back")] {
        post(&app, path).await;
        assert_eq!(heard.try_recv(), Ok(told));
        heard.try_recv().unwrap_err();
    }
}

async fn hooks_outlive_their_client<D: Words>() {
    let shop = open().await;
    let (begins, goes) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let (begun, go) = (Arc::clone(&begins), Arc::clone(&goes));
    let (told, mut heard) = mpsc::unbounded_channel();
    let handler = async move |mut tx: Tx<D>| {
        D::run(&mut tx, CREDIT).await.unwrap();
        let waits = async_hook(async move || {
            begins.notify_one();
            goes.notified().await;
        });
        D::account(&mut tx).hooks.push_after_commit(waits);
        D::tell(&mut tx, &told);
    };
    let app = serving(database::<D>(&shop), handler);
    let client = tokio::spawn(async move { post(&app, "/").await.status });
    begun.notified().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    heard.try_recv().unwrap_err();
    go.notify_one();
    assert_eq!(heard.recv().await, Some("committed"));
    assert_credits(&shop, 1).await;
}

async fn what_is_marked_rolls_back_and_is_answered<D: Words>() {
    async fn handler<D: Words>(mut tx: Tx<D>) -> &'static str {
        D::run(&mut tx, CREDIT).await.unwrap();
        D::set_rollback_only(&mut tx);
        "a preview"
    }
    let shop = open().await;
    let app = serving(database::<D>(&shop), handler::<D>);
    let answered = post(&app, "/").await;
    assert_eq!((answered.status, &*answered.body), (StatusCode::OK, "a preview"));
    assert_credits(&shop, 0).await;
}

async fn a_body_streams_behind_the_commit<D: Words>() {
    let shop = open().await;
    let (send, receive) = oneshot::channel::<&str>();
    let receive = Arc::new(Mutex::new(Some(receive)));
    let handler = async move |mut tx: Tx<D>| {
        D::run(&mut tx, CREDIT).await.unwrap();
        let late = receive.lock().unwrap().take().unwrap();
        Body::from_stream(stream::once(late))
    };
    let app = serving(database::<D>(&shop), handler);
    let response = app.oneshot(request("/")).await.unwrap();
    assert_credits(&shop, 1).await;
    send.send("the rest").unwrap();
    let rest = response.into_body().into_data_stream().next().await.unwrap().unwrap();
    assert_eq!(rest, "the rest");
}
