//! How transactions are called.

use super::support::{Answered, Tx, answer, open, post, request};
use crate::{
    captured_log::Log,
    words::{Words, on_all},
};
use axum::{Router, http::StatusCode, routing};
use std::sync::{Arc, Mutex};
use txsafe::Database;
use txsafe_conformance::shop::Shop;
use txsafe_layers::{RouteTransactionLayer, TransactionLayer};

on_all![
    a_transaction_is_called_after_its_route,
    a_transaction_has_the_name_that_it_is_given,
    a_name_that_can_not_be_one_is_an_error,
];

type Names = Arc<Mutex<Vec<String>>>;

/// A database whose transactions leave their names. Each is slow enough to be reported.
fn named<D: Words>(shop: &Shop) -> (Database<D>, Names) {
    let names = Names::default();
    let receive = Arc::clone(&names);
    let db = D::open(&shop.url, 1)
        .slow_after(std::time::Duration::ZERO)
        .on_report(move |report| receive.lock().unwrap().push(report.transaction.to_string()));
    (db.build().unwrap(), names)
}

async fn handler<D: Words>(mut tx: Tx<D>) {
    D::run(&mut tx, "SELECT 1").await.unwrap();
}

async fn a_transaction_is_called_after_its_route<D: Words>() {
    let shop = open().await;
    let (db, names) = named::<D>(&shop);
    let long = format!("/{}", "x".repeat(200));
    let layer = TransactionLayer::new(db);
    let nested = Router::<()>::new().route("/items/{item}", routing::any(handler::<D>));
    let app = Router::new()
        .route("/orders/{id}", routing::any(handler::<D>))
        .route(&long, routing::any(handler::<D>))
        .nest("/shops/{shop}", nested)
        .fallback(handler::<D>)
        .layer(layer);
    for path in ["/orders/1", "/orders/2?all=yes", "/shops/3/items/4", "/nowhere", &long] {
        assert_eq!(post(&app, path).await.status, StatusCode::OK, "{path}");
    }
    let mut made_up = request("/orders/1");
    *made_up.method_mut() = "MADEUP".parse().unwrap();
    let Answered { status, .. } = answer(&app, made_up).await;
    assert_eq!(status, StatusCode::OK);
    let expected = [
        "POST /orders/{id}",
        "POST /orders/{id}",
        "POST /shops/{shop}/items/{item}",
        "POST (no route)",
        &format!("POST /{}…", "x".repeat(119)),
        "OTHER /orders/{id}",
    ];
    assert_eq!(*names.lock().unwrap(), expected);
}

async fn a_transaction_has_the_name_that_it_is_given<D: Words>() {
    let shop = open().await;
    let (db, names) = named::<D>(&shop);
    let of_route = RouteTransactionLayer::<Database<D>>::new().name("of the route");
    let app = Router::new()
        .route("/", routing::post(handler::<D>))
        .route("/own", routing::post(handler::<D>).layer(of_route))
        .layer(TransactionLayer::new(db).name("of the service"));
    post(&app, "/").await;
    post(&app, "/own").await;
    assert_eq!(*names.lock().unwrap(), ["of the service", "of the route"]);
}

async fn a_name_that_can_not_be_one_is_an_error<D: Words>() {
    let shop = open().await;
    let (db, names) = named::<D>(&shop);
    let log = Log::default();
    let _hears = log.listen();
    let told = Names::default();
    let tell = Arc::clone(&told);
    let layer = TransactionLayer::new(db).name("").map_error(move |error| {
        tell.lock().unwrap().push(error.to_string());
        error
    });
    let app = Router::new().route("/", routing::post(handler::<D>)).layer(layer);
    assert_eq!(post(&app, "/").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(told.lock().unwrap()[0].contains("name what the code does"), "{told:?}");
    assert_eq!(names.lock().unwrap().len(), 0);
    // The client isn't told, so the log is.
    let log = log.text();
    assert_eq!(log.matches("name what the code does").count(), 1, "{log}");
}
