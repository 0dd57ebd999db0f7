//! What differs for routes, and several databases.

use super::support::{Tx, assert_credits, assert_mistake, credit, database, open, post};
use crate::words::{CREDIT, Words, on_all};
use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::Response,
    routing,
};
use std::marker::PhantomData;
use txsafe::{Database, Isolation, NoOrder, TxOptions};
use txsafe_layers::{RequestDatabase, RequestTx, RouteTransactionLayer, TransactionLayer};

on_all![
    a_route_has_its_own_options,
    the_inner_layer_of_a_route_wins,
    options_that_come_too_late_are_an_error,
    a_route_without_the_layer_is_an_error,
    two_layers_of_one_type_are_an_error,
    a_second_database_has_a_marker,
    the_inner_one_of_two_databases_commits_first,
];

async fn a_route_has_its_own_options<D: Words>() {
    async fn isolated<D: Words>(mut tx: Tx<D>) {
        let divides = "SELECT 1 / (current_setting('transaction_isolation') = 'serializable')::int";
        D::run(&mut tx, divides).await.unwrap();
    }
    async fn writes<D: Words>(mut tx: Tx<D>) -> Result<(), (StatusCode, String)> {
        D::run(&mut tx, CREDIT).await.map_err(|error| (StatusCode::FORBIDDEN, error))
    }
    let shop = open().await;
    let options = |options| RouteTransactionLayer::<Database<D>>::new().options(options);
    let read_only = options(TxOptions::new().read_only(true));
    let serializable = options(TxOptions::new().isolation(Isolation::Serializable));
    let app = Router::new()
        .route("/read-only", routing::post(writes::<D>).layer(read_only))
        .route("/serializable", routing::post(isolated::<D>).layer(serializable))
        .route("/", routing::post(credit::<D>))
        .layer(TransactionLayer::new(database::<D>(&shop)));
    let answered = post(&app, "/read-only").await;
    assert_eq!(answered.status, StatusCode::FORBIDDEN);
    assert!(answered.body.contains("read-only transaction"), "{}", answered.body);
    assert_eq!(post(&app, "/serializable").await.status, StatusCode::OK);
    assert_eq!(post(&app, "/").await.status, StatusCode::OK);
    assert_credits(&shop, 1).await;
}

async fn the_inner_layer_of_a_route_wins<D: Words>() {
    let shop = open().await;
    let never = RouteTransactionLayer::<Database<D>>::new().commit_if(|_| false);
    let always = RouteTransactionLayer::<Database<D>>::new().commit_if(|_| true);
    let app = Router::new()
        .route("/", routing::post(credit::<D>).layer((never.clone(), always)))
        .route("/never", routing::post(credit::<D>).layer(never))
        .layer(TransactionLayer::new(database::<D>(&shop)));
    assert_eq!(post(&app, "/").await.status, StatusCode::OK);
    assert_eq!(post(&app, "/never").await.status, StatusCode::OK);
    assert_credits(&shop, 1).await;
}

async fn options_that_come_too_late_are_an_error<D: Words>() {
    async fn begins<D: Words>(mut tx: Tx<D>, request: Request, next: Next) -> Response {
        D::run(&mut tx, CREDIT).await.unwrap();
        drop(tx);
        next.run(request).await
    }
    let shop = open().await;
    let route = RouteTransactionLayer::<Database<D>>::new()
        .options(TxOptions::new().isolation(Isolation::Serializable));
    let app = Router::new()
        .route("/", routing::post(credit::<D>).layer(route))
        .layer(from_fn(begins::<D>))
        .layer(TransactionLayer::new(database::<D>(&shop)));
    let answered = post(&app, "/").await;
    assert_eq!(answered.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        answered.body.contains("had begun before `RouteTransactionLayer`"),
        "{}",
        answered.body
    );
    assert_credits(&shop, 0).await;
}

async fn a_route_without_the_layer_is_an_error<D: Words>() {
    let route = RouteTransactionLayer::<Database<D>>::new();
    let app = Router::new().route("/", routing::post(|| async {}).layer(route));
    let answered = post(&app, "/").await;
    assert_mistake(&answered, "no `TransactionLayer` of");
}

async fn two_layers_of_one_type_are_an_error<D: Words>() {
    let shop = open().await;
    let app = Router::new()
        .route("/", routing::post(credit::<D>))
        .layer(TransactionLayer::new(database::<D>(&shop)))
        .layer(TransactionLayer::new(database::<D>(&shop)));
    let answered = post(&app, "/").await;
    assert_mistake(&answered, "two `TransactionLayer`s of");
    assert!(answered.body.contains(".marked::<…>()"), "{}", answered.body);
    assert!(shop.backends().await.is_empty());
}

/// The second one of a driver.
struct Second<D>(PhantomData<D>);

impl<D: Words> RequestDatabase for Second<D> {
    type Driver = D;
    type Order = NoOrder;
}

async fn a_second_database_has_a_marker<D: Words>() {
    async fn both<D: Words>(mut one: Tx<D>, mut two: RequestTx<Second<D>>) {
        D::run(&mut one, CREDIT).await.unwrap();
        for _ in 0..2 {
            D::run(&mut two, CREDIT).await.unwrap();
        }
    }
    let (one, two) = (open().await, open().await);
    let app = Router::new()
        .route("/", routing::post(both::<D>))
        .layer(TransactionLayer::new(database::<D>(&one)))
        .layer(TransactionLayer::new(database::<D>(&two)).marked::<Second<D>>());
    assert_eq!(post(&app, "/").await.status, StatusCode::OK);
    assert_credits(&one, 1).await;
    assert_credits(&two, 2).await;
}

/// They are two transactions: one may commit and the other fail.
async fn the_inner_one_of_two_databases_commits_first<D: Words>() {
    async fn both<D: Words>(mut inner: Tx<D>, mut outer: RequestTx<Second<D>>) {
        D::run(&mut inner, CREDIT).await.unwrap();
        D::run(&mut outer, CREDIT).await.unwrap();
        D::run(&mut outer, "INSERT INTO ledger VALUES (7), (7)").await.unwrap();
    }
    let (inner, outer) = (open().await, open().await);
    let deferred = "ALTER TABLE ledger ADD UNIQUE (operation) DEFERRABLE INITIALLY DEFERRED";
    outer.watcher.batch_execute(deferred).await.unwrap();
    let app = Router::new()
        .route("/", routing::post(both::<D>))
        .layer(TransactionLayer::new(database::<D>(&inner)))
        .layer(TransactionLayer::new(database::<D>(&outer)).marked::<Second<D>>());
    assert_eq!(post(&app, "/").await.status, StatusCode::CONFLICT);
    assert_credits(&inner, 1).await;
    assert_credits(&outer, 0).await;

    // The inner one fails: its response is an error, for which the outer one rolls back.
    let (inner, outer) = (outer, inner);
    let app = Router::new()
        .route("/", routing::post(fails_inside::<D>))
        .layer(TransactionLayer::new(database::<D>(&inner)))
        .layer(TransactionLayer::new(database::<D>(&outer)).marked::<Second<D>>());
    assert_eq!(post(&app, "/").await.status, StatusCode::CONFLICT);
    assert_credits(&inner, 0).await;
    assert_credits(&outer, 1).await;
}

async fn fails_inside<D: Words>(mut inner: Tx<D>, mut outer: RequestTx<Second<D>>) {
    D::run(&mut outer, CREDIT).await.unwrap();
    D::run(&mut inner, "INSERT INTO ledger VALUES (7), (7)").await.unwrap();
}
