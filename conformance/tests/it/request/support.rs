//! A shop behind a router, with whichever driver.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use diesel_async::{SimpleAsyncConnection, pooled_connection::deadpool};
use futures_util::future::BoxFuture;
use sqlx::Executor;
use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tower::ServiceExt;
use tracing::{
    Dispatch,
    subscriber::{DefaultGuard, NoSubscriber, set_default},
};
use txsafe::{
    Builder, Database, NoOrder, Unlocked,
    driver::{AsyncDriver, AsyncHook, HasAccount, Savepoints, async_hook},
};
use txsafe_conformance::shop::Shop;
use txsafe_layers::RequestTx;

pub(crate) const CREDIT: &str = "UPDATE accounts SET balance = balance + 1 WHERE id = 1";

/// The transaction of a request, as handlers take it.
pub(crate) type Tx<D> = RequestTx<Database<D>>;

/// A driver, and how simple SQL is run on its transactions.
pub(crate) trait Words: AsyncDriver + Savepoints + HasAccount<Hook = AsyncHook> {
    fn open(url: &str, connections: usize) -> Builder<Database<Self>>
    where
        Self: Sized;

    fn run<'t>(
        tx: &'t mut Self::Tx<'_, NoOrder, Unlocked>,
        sql: &'static str,
    ) -> BoxFuture<'t, Result<(), String>>;

    /// Queues hooks that tell how it ended.
    fn tell(
        tx: &mut Self::Tx<'_, NoOrder, Unlocked>,
        told: &tokio::sync::mpsc::UnboundedSender<&'static str>,
    ) {
        let hook = |what| {
            let told = told.clone();
            async_hook(async move || told.send(what).unwrap())
        };
        let hooks = &mut Self::account(tx).hooks;
        hooks.push_after_commit(hook("committed"));
        hooks.push_after_rollback(hook("rolled back"));
    }

    fn set_rollback_only(tx: &mut Self::Tx<'_, NoOrder, Unlocked>);
}

impl Words for txsafe_sqlx::Driver {
    fn open(url: &str, connections: usize) -> Builder<Database<Self>> {
        let connections = u32::try_from(connections).unwrap();
        let pool = txsafe_sqlx::pool_options().max_connections(connections);
        Database::builder(pool.connect_lazy(url).unwrap())
    }

    fn run<'t>(
        tx: &'t mut txsafe_sqlx::Tx<'_>,
        sql: &'static str,
    ) -> BoxFuture<'t, Result<(), String>> {
        Box::pin(async move { tx.execute(sql).await.map(drop).map_err(|error| error.to_string()) })
    }

    fn set_rollback_only(tx: &mut txsafe_sqlx::Tx<'_>) {
        tx.set_rollback_only();
    }
}

impl Words for txsafe_diesel::Driver {
    fn open(url: &str, connections: usize) -> Builder<Database<Self>> {
        let pool = deadpool::Pool::builder(txsafe_diesel::manager(url)).max_size(connections);
        Database::builder(pool.build().unwrap())
    }

    fn run<'t>(
        tx: &'t mut txsafe_diesel::Tx<'_>,
        sql: &'static str,
    ) -> BoxFuture<'t, Result<(), String>> {
        Box::pin(async move { tx.batch_execute(sql).await.map_err(|error| error.to_string()) })
    }

    fn set_rollback_only(tx: &mut txsafe_diesel::Tx<'_>) {
        tx.set_rollback_only();
    }
}

/// Each of these functions as a test of each driver.
macro_rules! on_all {
    ($($test:ident),+ $(,)?) => {
        mod sqlx_ {
            $(#[tokio::test] async fn $test() { super::$test::<txsafe_sqlx::Driver>().await; })+
        }
        mod diesel_async_ {
            $(#[tokio::test] async fn $test() { super::$test::<txsafe_diesel::Driver>().await; })+
        }
    };
}
pub(crate) use on_all;

pub(crate) async fn open() -> Shop {
    Shop::open("request").await.unwrap()
}

/// A database of this shop, whose connections the shop finds again while they are in a transaction.
pub(crate) fn database<D: Words>(shop: &Shop) -> Database<D> {
    D::open(&shop.url, 2).service(shop.name()).build().unwrap()
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

/// Waits until this query says so.
pub(crate) async fn until(shop: &Shop, sql: &str) {
    let patience = Instant::now() + Duration::from_secs(10);
    while shop.ask(sql).await == 0 {
        assert!(Instant::now() < patience, "not in time: {sql}");
        tokio::task::yield_now().await;
    }
}

/// What is logged on this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// While there is a second subscriber, `tracing` asks all of them whether they want an event. Otherwise it asks that of the
    /// thread that meets the event first, which may be another test's that has none.
    #[must_use]
    pub(crate) fn listen(&self) -> (DefaultGuard, Dispatch) {
        let second = Dispatch::new(NoSubscriber::default());
        let writer = self.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        (set_default(subscriber.finish()), second)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
