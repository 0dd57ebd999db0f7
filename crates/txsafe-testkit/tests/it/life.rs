//! From start to end, and through a crash.

use std::panic;

use txsafe_testkit::Postgres;

use crate::database::{connect, text};
use crate::process::Traces;

#[tokio::test]
async fn dropping_removes_folder_and_processes() {
    let server = Postgres::start().await.unwrap();
    let traces = Traces::of(server.data_dir().unwrap());
    let client = connect(server.url()).await.unwrap();
    assert_eq!(text(&client, "SELECT current_user::text").await, "postgres");

    drop(server);
    traces.assert_gone();
}

#[test]
fn a_panic_removes_folder_and_processes() {
    let server = Postgres::start_blocking().unwrap();
    let traces = Traces::of(server.data_dir().unwrap());

    let panicked = panic::catch_unwind(move || {
        let _server = server;
        panic::resume_unwind(Box::new("a failed assertion"));
    });

    assert!(panicked.is_err());
    traces.assert_gone();
}

#[tokio::test]
async fn two_servers_at_once_know_nothing_of_each_other() {
    let (one, two) = tokio::join!(Postgres::start(), Postgres::start());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.port(), two.port());
    assert_ne!(one.data_dir().unwrap(), two.data_dir().unwrap());

    connect(one.url()).await.unwrap().batch_execute("CREATE DATABASE mine").await.unwrap();
    drop(one);

    let query = "SELECT count(*)::text FROM pg_database WHERE datname = 'mine'";
    assert_eq!(text(&connect(two.url()).await.unwrap(), query).await, "0");
}

#[tokio::test]
async fn committed_data_survives_a_crash() {
    let server = Postgres::start().await.unwrap();
    let client = connect(server.url()).await.unwrap();
    client.batch_execute("CREATE TABLE t AS SELECT 'kept' AS word").await.unwrap();

    server.stop_immediately().await.unwrap();
    assert!(client.batch_execute("SELECT 1").await.is_err());
    assert!(connect(server.url()).await.is_err());

    server.restart().await.unwrap();
    let client = connect(server.url()).await.unwrap();
    assert_eq!(text(&client, "SELECT word FROM t").await, "kept");
}

#[tokio::test]
async fn a_running_server_is_restarted_on_its_port() {
    let server = Postgres::start().await.unwrap();
    let client = connect(server.url()).await.unwrap();
    let started = "SELECT pg_postmaster_start_time()::text";
    let before = text(&client, started).await;

    server.restart().await.unwrap();

    assert!(client.batch_execute("SELECT 1").await.is_err());
    assert_ne!(text(&connect(server.url()).await.unwrap(), started).await, before);
}

#[tokio::test]
async fn a_killed_backend_takes_the_others_with_it() {
    let server = Postgres::start().await.unwrap();
    let victim = connect(server.url()).await.unwrap();
    let bystander = connect(server.url()).await.unwrap();
    let pid: i32 = victim.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);

    server.kill_backend(pid).unwrap();

    // Waits for the server's answer, which is that there will be none.
    assert!(victim.batch_execute("SELECT pg_sleep(60)").await.is_err());
    assert!(bystander.batch_execute("SELECT pg_sleep(60)").await.is_err());
}

#[test]
fn other_peoples_processes_are_never_killed() {
    let server = Postgres::start_blocking().unwrap();
    let myself = i32::try_from(std::process::id()).unwrap();
    for pid in [1, 0, -1, myself] {
        let error = server.kill_backend(pid).unwrap_err();
        assert!(error.to_string().contains("no backend of this server"), "{error}");
    }
}
