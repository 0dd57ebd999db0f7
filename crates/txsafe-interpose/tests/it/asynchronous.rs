//! In transactions of diesel-async.

use crate::support::{Found, Wrong, async_database, listener};
use std::{future::Future, thread, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use txsafe_diesel::guard::{Policy, allow_external_io, current};
use txsafe_testkit::Postgres;

/// Runs what `body` makes in a transaction: which system calls were found.
async fn found_by<F>(body: impl Fn() -> F + Sync) -> Vec<String>
where
    F: Future<Output = ()> + Send,
{
    let schema = Postgres::shared().await.unwrap().schema("asynchronous").await.unwrap();
    let found = Found::default();
    let db = async_database(&schema, found.policy());
    db.transaction("found", async |_tx| {
        body().await;
        Ok::<_, Wrong>(())
    })
    .await
    .unwrap();
    found.calls()
}

#[tokio::test]
async fn a_connection_of_tokio_is_found_and_what_is_sent_by_it() {
    let address = listener();
    let found = found_by(|| async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
    })
    .await;
    assert!(found.len() == 2 && found[0] == format!("connect({address})"), "{found:?}");
    assert!(found[1].ends_with(&format!("({address})")), "{found:?}");
}

#[tokio::test]
async fn what_is_allowed_is_not_found() {
    let address = listener();
    let found = found_by(|| {
        allow_external_io("to see", async {
            TcpStream::connect(address).await.unwrap();
        })
    })
    .await;
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_threads_do_is_not_seen() {
    let address = listener();
    let found = found_by(|| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        tokio::fs::read("/etc/passwd").await.unwrap();
        drop(tokio::net::lookup_host("localhost:80").await.unwrap());
        tokio::spawn(async move { TcpStream::connect(address).await.unwrap() }).await.unwrap();
    })
    .await;
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_attached_is_seen_on_whatever_thread() {
    let address = listener();
    let found = found_by(|| async {
        let transaction = current().unwrap();
        let there = transaction.clone();
        let blocks = move || there.run(|| thread::sleep(Duration::from_millis(1)));
        tokio::task::spawn_blocking(blocks).await.unwrap();
        tokio::spawn(transaction.attach(async move { TcpStream::connect(address).await.unwrap() }))
            .await
            .unwrap();
    })
    .await;
    assert!(found.len() == 2 && found[0].ends_with("nanosleep(1ms)"), "{found:?}");
    assert_eq!(found[1], format!("connect({address})"));
}

#[tokio::test]
async fn a_test_fails() {
    let address = listener();
    let schema = Postgres::shared().await.unwrap().schema("fails").await.unwrap();
    let db = async_database(&schema, Policy::test());
    let test = tokio::spawn(async move {
        db.transaction("fails", async |_tx| {
            drop(std::net::TcpStream::connect(address).unwrap());
            Ok::<_, Wrong>(())
        })
        .await
    });
    let message = *test.await.unwrap_err().into_panic().downcast::<String>().unwrap();
    assert!(message.contains(&format!("TXS008 system call: connect({address})")), "{message}");
}
