//! A service that is called in a transaction.

use crate::support::{called, found, with_lines};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};
use tower::{Layer, Service, ServiceExt, service_fn};
use txsafe_layers::ExternalLayer;
use txsafe_sqlx::guard::{Policy, allow_external_io};

async fn answer(cents: u32) -> Result<u32, Infallible> {
    tokio::task::yield_now().await;
    Ok(cents)
}

async fn pay(cents: u32) {
    let gateway = service_fn(answer);
    let gateway = ExternalLayer::new("payments").layer(gateway);
    assert_eq!(gateway.oneshot(cents).await, Ok(cents));
}

#[tokio::test]
async fn a_call_is_found_with_its_duration() {
    pay(1).await;
    let found = found(Policy::production(), || pay(2)).await;
    assert_eq!(called(&found), ["called payments"]);
    assert!(found[0].waited.is_some() && found[0].site.is_none());
    assert!(found[0].what.starts_with("called payments, which took "), "{}", found[0].what);
}

#[tokio::test]
async fn the_finding_names_the_line_that_awaits() {
    let found = found(with_lines(), || pay(3)).await;
    let site = found[0].site.as_ref().unwrap();
    assert!(site.file.ends_with("tests/it/tower.rs"), "{site}");
}

#[tokio::test]
async fn a_call_that_is_allowed_is_none() {
    let found = found(Policy::production(), || allow_external_io("why", pay(4))).await;
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn a_request_that_is_made_and_not_sent_is_none() {
    let found = found(Policy::production(), async || {
        drop(ExternalLayer::new("payments").layer(Busy).call(5));
    });
    assert!(found.await.is_empty());
}

#[tokio::test]
async fn a_service_says_itself_when_it_is_ready() {
    let mut busy = ExternalLayer::new("payments").layer(Busy);
    let ready = std::future::poll_fn(|cx| busy.poll_ready(cx)).await;
    assert_eq!(ready, Err("busy"));
}

/// Is never ready.
struct Busy;

impl Service<u32> for Busy {
    type Response = ();
    type Error = &'static str;
    type Future = Ready<Result<(), &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Err("busy"))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        ready(Ok(()))
    }
}
