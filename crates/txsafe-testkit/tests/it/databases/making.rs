//! Databases are copied from one template, ahead of the tests that take them.

use std::thread;

use txsafe_testkit::Postgres;

use super::Suite;
use crate::database::{connect, text};

#[tokio::test]
async fn each_test_has_a_migrated_database_of_its_own() {
    let suite = Suite::shared().await;
    let databases = suite.databases("1", 2);
    let one = databases.take().await.unwrap();
    let two = databases.take().await.unwrap();
    assert_ne!(one.name(), two.name());

    let client = connect(one.url()).await.unwrap();
    assert_eq!(text(&client, "SELECT current_database()::text").await, one.name());
    client.batch_execute("INSERT INTO t0 (name) VALUES ('mine')").await.unwrap();
    let client = connect(two.url()).await.unwrap();
    assert_eq!(text(&client, "SELECT count(*)::text FROM t0").await, "0");
    assert_eq!(suite.runs(), 1);
}

#[tokio::test]
async fn the_template_is_made_once_for_each_fingerprint() {
    let suite = Suite::shared().await;
    for (version, runs) in [("1", 1), ("1", 1), ("2", 2), ("1", 2)] {
        drop(suite.databases(version, 0).take().await.unwrap());
        assert_eq!(suite.runs(), runs, "{version}");
    }
}

#[test]
fn processes_that_start_at_once_make_one_template() {
    let suite = Suite::on(Postgres::shared_blocking().unwrap());
    // Each has a thread and sessions of its own, as another process has.
    let processes: Vec<_> = (0..4).map(|_| suite.databases("1", 2)).collect();
    thread::scope(|scope| {
        for databases in &processes {
            for _ in 0..3 {
                scope.spawn(|| databases.take_blocking().unwrap());
            }
        }
    });
    assert_eq!(suite.runs(), 1);
}

#[tokio::test]
async fn without_a_fingerprint_each_process_makes_its_own_template() {
    use txsafe_testkit::TestDatabases;
    let suite = Suite::shared().await;
    let databases = || {
        TestDatabases::builder(&suite.name).ahead(1).server(&suite.server).migrate(super::migrate)
    };
    let first = databases();
    let _one = first.take().await.unwrap();
    let of_first = suite.in_state("ready", |ready| ready.len() == 1).await;
    let two = databases().take().await.unwrap();
    assert_ne!(two.name(), of_first[0]);
    let templates = suite.in_state("template", |templates| !templates.is_empty()).await;
    assert_eq!(templates.len(), 2);
}

#[tokio::test]
async fn clones_are_made_ahead_and_taken_in_their_order() {
    let suite = Suite::shared().await;
    let databases = suite.databases("1", 3);
    let _first = databases.take().await.unwrap();
    let ready = suite.in_state("ready", |ready| ready.len() == 3).await;
    let next = databases.take().await.unwrap();
    assert_eq!(next.name(), ready[0]);
    // And another one takes its place.
    suite.in_state("ready", |ready| ready.len() == 3).await;
}

#[tokio::test]
async fn a_database_is_dropped_with_its_value_whoever_is_connected() {
    let suite = Suite::shared().await;
    let databases = suite.databases("1", 0);
    let database = databases.take().await.unwrap();
    let name = database.name().to_owned();
    let client = connect(database.url()).await.unwrap();
    client.batch_execute("BEGIN; LOCK TABLE t0").await.unwrap();

    // In the middle of a runtime, where blocking on another one would panic.
    drop(database);
    assert!(!suite.exists(&name).await);
    assert!(client.batch_execute("COMMIT").await.is_err());
}

#[tokio::test]
async fn a_server_with_fsync_drops_what_is_given_up_and_what_is_removed() {
    let server = Postgres::builder().durable(true).start().await.unwrap();
    let suite = Suite::on(&server);
    let databases = suite.databases("1", 0);
    let first = databases.take().await.unwrap();
    let second = databases.take().await.unwrap();
    let names = [first.name().to_owned(), second.name().to_owned()];
    drop(first);
    suite.is_gone(&names[0]).await;
    second.remove().await.unwrap();
    assert!(!suite.exists(&names[1]).await);
}

#[tokio::test]
async fn connections_that_the_migrations_leave_open_are_closed() {
    use txsafe_testkit::TestDatabases;
    let suite = Suite::shared().await;
    let databases = TestDatabases::builder(&suite.name)
        .fingerprint(["1"])
        .server(&suite.server)
        .migrate_blocking(|url| {
            let url = url.to_owned();
            // A pool that lives as long as the process.
            let (sender, connected) = std::sync::mpsc::channel();
            thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let (client, connection) =
                        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
                    sender.send(()).unwrap();
                    let _ended = connection.await;
                    drop(client);
                });
            });
            connected.recv()
        });
    let _database = databases.take().await.unwrap();
}

#[test]
fn suites_with_odd_names_are_given_plain_ones() {
    use txsafe_testkit::TestDatabases;
    let server = Postgres::shared_blocking().unwrap();
    let suite =
        "Möbel \"&\" '; DROP DATABASE postgres; -- und was sonst noch in keinen Namen passt";
    let databases = TestDatabases::builder(suite)
        .fingerprint(["1"])
        .ahead(1)
        .server(server.url())
        .migrate(super::migrate);
    let database = databases.take_blocking().unwrap();
    assert!(database.name().starts_with("txsafe_test_m_bel____"), "{}", database.name());
}
