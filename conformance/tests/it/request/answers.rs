//! What the client is answered when a transaction couldn't be begun, or not be committed.

use super::support::{Tx, assert_credits, credit, database, open, post, serving, with_one};
use crate::words::{CREDIT, Words, on_all};
use axum::{
    Router,
    http::{StatusCode, header::RETRY_AFTER},
    response::IntoResponse,
    routing,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use txsafe::TxOptions;
use txsafe_layers::{RequestTxErrorKind, TransactionLayer};
use txsafe_testkit::{At, Fault, Lab};

on_all![
    an_exhausted_pool_is_503,
    a_commit_that_passes_is_503,
    a_constraint_at_commit_is_409,
    a_swallowed_failure_is_500,
    a_lost_commit_is_unknown,
    a_rollback_that_came_too_late_is_unknown,
    an_application_answers_in_its_own_way,
    reports_name_the_line_of_the_layer,
];

const BUSY: &str = "Nothing was changed. The service is busy; try again in a moment.";

async fn an_exhausted_pool_is_503<D: Words>() {
    let shop = open().await;
    let db = with_one::<D>(&shop, &shop.url);
    let elsewhere = db.begin("elsewhere").await.unwrap();
    let options = TxOptions::new().checkout_timeout(Duration::from_millis(1));
    let options = options.timeout(Duration::from_millis(100));
    let app = Router::new()
        .route("/", routing::post(credit::<D>))
        .layer(TransactionLayer::new(db).options(options));
    let answered = post(&app, "/").await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answered.body);
    assert_eq!((&answered.headers[RETRY_AFTER], &*answered.body), (&"1".parse().unwrap(), BUSY));
    elsewhere.rollback().await.unwrap();
    assert_eq!(post(&app, "/").await.status, StatusCode::OK);
    assert_credits(&shop, 1).await;
}

async fn a_commit_that_passes_is_503<D: Words>() {
    let shop = open().await;
    let lab = Lab::new(&shop.url).unwrap();
    let session = lab.session().await.unwrap();
    let db = with_one::<D>(&shop, session.url());
    let app = serving(db, credit::<D>);
    session.inject(At::Commit, Fault::Raise("40001")).unwrap();
    let answered = post(&app, "/").await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answered.body);
    assert_eq!((&answered.headers[RETRY_AFTER], &*answered.body), (&"1".parse().unwrap(), BUSY));
    assert_credits(&shop, 0).await;
}

const DEFERRED: &str = "CREATE TABLE tickets (seat int UNIQUE DEFERRABLE INITIALLY DEFERRED)";

async fn sell_twice<D: Words>(mut tx: Tx<D>) {
    D::run(&mut tx, "INSERT INTO tickets VALUES (7), (7)").await.unwrap();
}

async fn a_constraint_at_commit_is_409<D: Words>() {
    let shop = open().await;
    shop.watcher.batch_execute(DEFERRED).await.unwrap();
    let app = serving(database::<D>(&shop), sell_twice::<D>);
    let answered = post(&app, "/").await;
    assert_eq!(answered.status, StatusCode::CONFLICT);
    let says = "Nothing was changed. It contradicts something that is stored already.";
    assert_eq!(answered.body, says);
    assert_credits(&shop, 0).await;
}

async fn a_swallowed_failure_is_500<D: Words>() {
    async fn handler<D: Words>(mut tx: Tx<D>) -> &'static str {
        D::run(&mut tx, CREDIT).await.unwrap();
        D::run(&mut tx, "SELECT 1/0").await.unwrap_err();
        "all is well"
    }
    let shop = open().await;
    let app = serving(database::<D>(&shop), handler::<D>);
    let answered = post(&app, "/").await;
    assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answered.body, "Nothing was changed, because of an error of the service.");
    assert_credits(&shop, 0).await;
}

const UNKNOWN: &str = "It is unknown whether the change was made. Look before you try again.";

async fn a_lost_commit_is_unknown<D: Words>() {
    for (fault, credits) in [(Fault::CutAfterApplied, 1), (Fault::CutBefore, 0)] {
        let shop = open().await;
        let lab = Lab::new(&shop.url).unwrap();
        let session = lab.session().await.unwrap();
        let db = with_one::<D>(&shop, session.url());
        let app = serving(db, credit::<D>);
        session.inject(At::Commit, fault).unwrap();
        let answered = post(&app, "/").await;
        assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answered.body, UNKNOWN);
        assert_credits(&shop, credits).await;
    }
}

/// A handler that has committed by SQL must not say that nothing happened.
async fn a_rollback_that_came_too_late_is_unknown<D: Words>() {
    async fn handler<D: Words>(mut tx: Tx<D>) -> (StatusCode, &'static str) {
        D::run(&mut tx, CREDIT).await.unwrap();
        D::run(&mut tx, "COMMIT").await.unwrap();
        (StatusCode::CONFLICT, "nothing was done")
    }
    let shop = open().await;
    let app = serving(database::<D>(&shop), handler::<D>);
    let answered = post(&app, "/").await;
    assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answered.body, UNKNOWN);
    assert_credits(&shop, 1).await;
}

async fn an_application_answers_in_its_own_way<D: Words>() {
    async fn twice<D: Words>(_one: Tx<D>, _two: Tx<D>) {}
    let shop = open().await;
    shop.watcher.batch_execute(DEFERRED).await.unwrap();
    let layer = TransactionLayer::new(database::<D>(&shop)).map_error(|error| {
        let Some(of_transaction) = error.error() else { return error.into_response() };
        let code = of_transaction.sqlstate().unwrap();
        (StatusCode::IM_A_TEAPOT, code.as_str().to_owned()).into_response()
    });
    let app = Router::new()
        .route("/", routing::post(sell_twice::<D>))
        .route("/twice", routing::post(twice::<D>))
        .layer(layer);
    let answered = post(&app, "/").await;
    assert_eq!((answered.status, &*answered.body), (StatusCode::IM_A_TEAPOT, "23505"));
    assert_eq!(post(&app, "/twice").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_credits(&shop, 0).await;
}

async fn reports_name_the_line_of_the_layer<D: Words>() {
    let shop = open().await;
    shop.watcher.batch_execute(DEFERRED).await.unwrap();
    let said = Arc::<Mutex<String>>::default();
    let says = Arc::clone(&said);
    let layer = TransactionLayer::new(database::<D>(&shop));
    let line = line!() - 1;
    let app = Router::new().route("/", routing::post(sell_twice::<D>));
    let app = app.layer(layer.map_error(move |error| {
        assert!(matches!(error.kind(), RequestTxErrorKind::End(_)));
        *says.lock().unwrap() = error.to_string();
    }));
    post(&app, "/").await;
    let said = said.lock().unwrap().clone();
    let start = format!("transaction \"POST /\" ({}:{line}:", file!());
    assert!(said.starts_with(&start), "{said}");
}
