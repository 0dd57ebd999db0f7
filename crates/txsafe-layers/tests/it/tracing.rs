//! What clients log in a transaction.

use crate::support::{called, database, found, with_lines};
use std::sync::{Arc, Mutex};
use tracing::{
    Event, Level, Subscriber, debug, debug_span, event, subscriber::DefaultGuard, trace,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::LevelFilter,
    layer::{Context, Identity},
    prelude::*,
    registry::LookupSpan,
};
use txsafe_layers::ClientEvents;
use txsafe_sqlx::{
    Error,
    guard::{Policy, external_io},
};

/// Hears of clients on this thread.
#[must_use]
fn listen() -> DefaultGuard {
    listen_beside(ClientEvents::new(), Identity::new())
}

fn listen_beside(clients: ClientEvents, log: impl Layer<Registry> + Send + Sync) -> DefaultGuard {
    tracing_subscriber::registry().with(log).with(clients.layer()).set_default()
}

/// What reqwest and what is below it log for one request.
fn log_a_request() {
    for _ in 0..3 {
        debug!(target: "reqwest::connect", "starting new connection");
        trace!(target: "hyper_util::client::legacy::pool", "checkout waiting");
        trace!(target: "hyper_util::client::legacy::connect::http", "connecting");
    }
}

async fn request() {
    log_a_request();
    tokio::task::yield_now().await;
    log_a_request();
}

#[tokio::test]
async fn a_call_is_told_of_once_whoever_logs_it() {
    let _listening = listen();
    request().await;
    let found = found(Policy::production(), request).await;
    assert_eq!(called(&found), ["called reqwest"]);
    assert_eq!(found[0].occurrences, 1);
}

#[tokio::test]
async fn a_transport_that_logs_first_is_told_of_in_place_of_its_client() {
    let _listening = listen();
    let found = found(Policy::production(), async || {
        trace!(target: "h2::client", "send request");
        request().await;
    });
    assert_eq!(called(&found.await), ["called hyper"]);
}

#[tokio::test]
async fn each_client_is_told_of() {
    let _listening = listen_beside(ClientEvents::new().and("mongodb", "MongoDB"), Identity::new());
    let found = found(Policy::production(), async || {
        drop(debug_span!(target: "aws_sdk_s3::operation::put_object", "S3.PutObject"));
        request().await;
        debug!(target: "lettre::transport::smtp::client", "Wrote: MAIL");
        trace!(target: "lapin::channel", "send_frame");
        debug!(target: "async_nats", "connected");
        debug!(target: "mongodb::command", "started");
        debug!(target: "shop::orders", "mine");
    });
    assert_eq!(
        called(&found.await),
        [
            "called AWS",
            "called reqwest",
            "called lettre",
            "called lapin",
            "called async-nats",
            "called MongoDB"
        ]
    );
}

#[tokio::test]
async fn each_attempt_is_told_of() {
    let _listening = listen();
    for _ in 0..2 {
        assert_eq!(found(Policy::production(), request).await.len(), 1);
    }
}

#[tokio::test]
async fn the_finding_names_the_line_that_called() {
    let _listening = listen();
    let found = found(with_lines(), async || log_a_request()).await;
    assert_eq!(called(&found), ["called reqwest"]);
    let site = found[0].site.as_ref().unwrap();
    assert!(site.file.ends_with("tests/it/tracing.rs"), "{site}");
}

#[tokio::test]
async fn of_a_marked_call_is_told_by_its_mark_only() {
    let _listening = listen();
    let found = found(Policy::production(), || external_io("stripe.charge", request())).await;
    assert_eq!(called(&found), ["called stripe.charge"]);
}

#[tokio::test]
async fn a_client_that_logs_by_another_crate_is_heard() {
    let _listening = listen();
    tracing_log::LogTracer::init().unwrap();
    let found = found(Policy::production(), async || {
        log::debug!(target: "shop", "mine");
        log::debug!(target: "ureq::run", "GET /");
        log::trace!(target: "ureq_proto::client", "more");
    });
    assert_eq!(called(&found.await), ["called ureq"]);
}

#[tokio::test]
async fn who_writes_a_log_gets_the_finding_and_nothing_that_only_the_guard_hears() {
    let log = Log::default();
    let lines = Arc::clone(&log.0);
    let _listening = listen_beside(ClientEvents::new(), log.with_filter(LevelFilter::INFO));
    let db = database(Policy::production()).await;
    let committed = db.transaction("calls", async |_tx| {
        request().await;
        // The guard's own words are none of a client's, whatever their target.
        event!(target: "hyper::client", Level::INFO, "loud");
        Ok::<_, Error>(())
    });
    committed.await.unwrap();
    let lines = lines.lock().unwrap();
    let of_clients: Vec<_> =
        lines.iter().filter(|(_, target)| !target.starts_with("txsafe")).collect();
    assert_eq!(of_clients, [&(Level::INFO, "hyper::client")]);
    let findings = lines.iter().filter(|(level, _)| *level == Level::WARN);
    assert_eq!(findings.count(), 1, "{lines:?}");
}

/// Notes what it hears.
#[derive(Default)]
struct Log(Arc<Mutex<Vec<(Level, &'static str)>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        self.0.lock().unwrap().push((*metadata.level(), metadata.target()));
    }
}
