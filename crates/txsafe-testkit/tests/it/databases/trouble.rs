//! Where there is no database, the message says what to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use txsafe_testkit::{Error, Postgres, TestDatabases};

use super::{Suite, url_of};
use crate::database::connect;

fn at(url: impl Into<String>) -> TestDatabases {
    TestDatabases::builder("shop").fingerprint(["1"]).ahead(0).server(url).migrate(super::migrate)
}

fn assert_says(error: &Error, words: &[&str]) {
    let text = format!("{error:?}");
    for word in words {
        assert!(text.contains(word), "{word:?} isn't in: {text}");
    }
}

#[tokio::test]
async fn a_role_without_createdb_is_named() {
    let server = Postgres::start().await.unwrap();
    let client = connect(server.url()).await.unwrap();
    client.batch_execute("CREATE ROLE poor LOGIN").await.unwrap();
    let url = server.url().replace("postgres@", "poor@");
    // Whether the registry is there or not.
    for _ in 0..2 {
        let error = at(&url).take().await.unwrap_err();
        assert_says(
            &error,
            &["the role poor may not create databases", "`ALTER ROLE poor CREATEDB`"],
        );
        drop(at(server.url()).take().await.unwrap());
    }
    client.batch_execute("ALTER ROLE poor CREATEDB").await.unwrap();
    let database = at(&url).take().await.unwrap();
    connect(database.url()).await.unwrap();
}

#[tokio::test]
async fn roles_do_not_meet() {
    let server = Postgres::start().await.unwrap();
    let client = connect(server.url()).await.unwrap();
    client
        .batch_execute("CREATE ROLE one LOGIN CREATEDB; CREATE ROLE two LOGIN CREATEDB")
        .await
        .unwrap();
    let of = |role: &str| at(server.url().replace("postgres@", &format!("{role}@")));
    let (one, two) = (of("one"), of("two"));
    let (first, second) = (one.take().await.unwrap(), two.take().await.unwrap());
    for (database, role) in [(first, "one"), (second, "two")] {
        let sql = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1";
        let owner: String = client.query_one(sql, &[&database.name()]).await.unwrap().get(0);
        assert_eq!(owner, role);
        database.remove().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_named_without_its_password() {
    let server = Postgres::start().await.unwrap();
    server.stop_immediately().await.unwrap();
    let url = server.url().replace("postgres@", "postgres:secret@");
    let error = at(url).take().await.unwrap_err();
    assert_says(&error, &[&format!("127.0.0.1:{} can't be reached; start it", server.port())]);
    assert!(!format!("{error:?}").contains("secret"));
}

#[tokio::test]
async fn wrong_urls_are_named() {
    let server = Postgres::start().await.unwrap();
    let error = at("mysql://me:secret@db/app").take().await.unwrap_err();
    assert_says(&error, &["must be like `postgresql://user@host:5432/database`"]);
    assert!(!format!("{error:?}").contains("secret"));
    let error = at(url_of(server.url(), "nowhere")).take().await.unwrap_err();
    assert_says(&error, &["the database nowhere doesn't exist", "such as `postgres`"]);
    let error = at(server.url().replace("postgres@", "nobody@")).take().await.unwrap_err();
    assert_says(&error, &["doesn't let nobody in"]);
    let error = at(format!("{}?sslmode=require", server.url())).take().await.unwrap_err();
    assert_says(&error, &["`sslmode=disable`"]);
}

#[tokio::test]
async fn migrations_that_fail_run_once_and_leave_nothing() {
    let server = Postgres::start().await.unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let databases = TestDatabases::builder("shop").fingerprint(["1"]).server(server.url()).migrate(
        move |url| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { connect(&url).await?.batch_execute("CREATE TABEL t ()").await }
        },
    );
    for _ in 0..2 {
        let error = databases.take().await.unwrap_err();
        assert_says(
            &error,
            &["the migrations of \"shop\" failed", "syntax error at or near \"TABEL\""],
        );
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    assert!(Suite::on(&server).in_state("migrating", |_| true).await.is_empty());

    let databases = TestDatabases::builder("shop")
        .fingerprint(["1"])
        .server(server.url())
        .migrate_blocking(|_| -> Result<(), std::fmt::Error> { panic!("no such folder") });
    let error = databases.take().await.unwrap_err();
    assert_says(&error, &["It panicked: no such folder"]);
    let client = connect(server.url()).await.unwrap();
    let sql = "SELECT count(*) FROM pg_database WHERE datname LIKE 'txsafe\\_test\\_%'";
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_folder_that_isnt_there_is_named() {
    let databases = TestDatabases::builder("shop").files("no/such/folder").migrate(super::migrate);
    let error = databases.take().await.unwrap_err();
    assert_says(&error, &["no/such/folder", "CARGO_MANIFEST_DIR"]);
}

#[tokio::test]
async fn a_server_without_free_connections_is_named() {
    let server = Postgres::builder()
        .setting("max_connections", "2")
        .setting("superuser_reserved_connections", "0")
        .setting("max_wal_senders", "0")
        .start()
        .await
        .unwrap();
    let _one = connect(server.url()).await.unwrap();
    let _two = connect(server.url()).await.unwrap();
    let error = at(server.url()).take().await.unwrap_err();
    assert_says(&error, &["has no connection left", "--test-threads"]);
}
