//! What the guard reports of a handler, and by which line.

use super::support::{Tx, assert_credits, open, post, serving};
use crate::words::{CREDIT, Words, on_all};
use axum::http::StatusCode;
use futures_util::FutureExt;
use std::{panic::AssertUnwindSafe, time::Duration};
use txsafe::guard::{Code, Policy};
use txsafe_conformance::findings::{found, only, watching};

on_all![
    a_gap_before_a_statement_names_the_line_of_the_handler,
    a_gap_before_commit_names_no_line,
    a_gap_before_commit_fails_a_test,
];

/// As long as what is looked at here has to be.
const GAP: Duration = Duration::from_millis(60);

/// With stacks, and without.
fn policies() -> [Policy; 2] {
    [Policy::dev(), Policy::staging()]
}

async fn waits_between<D: Words>(mut tx: Tx<D>) -> String {
    D::run(&mut tx, CREDIT).await.unwrap();
    tokio::time::sleep(GAP).await;
    D::run(&mut tx, CREDIT).await.unwrap();
    let line = line!() - 1;
    line.to_string()
}

async fn a_gap_before_a_statement_names_the_line_of_the_handler<D: Words>() {
    for policy in policies() {
        let shop = open().await;
        let (policy, findings) = watching(policy);
        let db = D::open(&shop.url, 1).service(shop.name()).guard(policy).build().unwrap();
        let line = post(&serving(db, waits_between::<D>), "/").await.body;
        let wait = &found(&findings, 1)[0];
        let site = wait.site.as_ref().unwrap();
        assert!(site.file.ends_with("request/guard.rs") && site.line.to_string() == line, "{wait}");
        assert_credits(&shop, 2).await;
    }
}

async fn waits_at_the_end<D: Words>(mut tx: Tx<D>) {
    D::run(&mut tx, CREDIT).await.unwrap();
    tokio::time::sleep(GAP).await;
}

/// The layer sends COMMIT, so its line doesn't show where the handler waits. The finding names the place of the layer and the
/// statement before.
async fn a_gap_before_commit_names_no_line<D: Words>() {
    for policy in policies() {
        let shop = open().await;
        let (policy, findings) = watching(policy);
        let db = D::open(&shop.url, 1).service(shop.name()).guard(policy).build().unwrap();
        assert_eq!(post(&serving(db, waits_at_the_end::<D>), "/").await.status, StatusCode::OK);
        let _one = found(&findings, 1);
        let wait = only(&findings, Code::ExternalWait);
        assert_eq!(wait.site, None, "{wait}");
        assert!(wait.waited.unwrap() >= GAP, "{wait}");
        assert!(wait.place.file().ends_with("request/support.rs"), "{wait}");
        assert!(wait.to_string().contains(&format!("behind `{CREDIT}`")), "{wait}");
        assert!(!wait.to_string().contains("txsafe-layers"), "{wait}");
        assert_credits(&shop, 1).await;
    }
}

async fn a_gap_before_commit_fails_a_test<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 1).service(shop.name()).guard(Policy::test()).build().unwrap();
    let app = serving(db, waits_at_the_end::<D>);
    let panicked = AssertUnwindSafe(post(&app, "/")).catch_unwind().await.err().unwrap();
    let text = panicked.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("TXS001 external wait"), "{text}");
    assert_credits(&shop, 0).await;
}
