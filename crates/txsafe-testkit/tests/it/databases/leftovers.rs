//! What processes leave behind that died, and what is kept on purpose.

use std::env;
use std::io::{BufRead, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use tokio_postgres::Client;
use txsafe_testkit::Postgres;

use super::Suite;
use crate::database::connect;

const SERVER: &str = "TXSAFE_TEST_SERVER";
const SUITE: &str = "TXSAFE_TEST_SUITE";

#[tokio::test]
async fn the_database_of_a_killed_process_is_dropped_by_the_next_one() {
    let suite = Suite::shared().await;
    let (mut killed, name) = another_process(&suite, &[]);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(suite.exists(&name).await);

    let databases = suite.databases("1", 1);
    let _mine = databases.take().await.unwrap();
    suite.is_gone(&name).await;
}

#[tokio::test]
async fn databases_of_living_processes_stay() {
    let suite = Suite::shared().await;
    let (mut alive, name) = another_process(&suite, &[]);
    let (mut killed, left) = another_process(&suite, &[]);
    killed.kill().unwrap();
    killed.wait().unwrap();

    let databases = suite.databases("1", 1);
    let _mine = databases.take().await.unwrap();
    suite.is_gone(&left).await;
    // The registry forgets all that are to be dropped before the first one is.
    let taken = suite.in_state("taken", |_| true).await;
    assert!(taken.contains(&name) && suite.exists(&name).await);
    drop(alive.stdin.take());
    assert!(alive.wait().unwrap().success());
    assert!(!suite.exists(&name).await);
}

#[tokio::test]
async fn a_clone_whose_maker_died_is_taken_once_it_is_complete() {
    let suite = Suite::shared().await;
    let databases = suite.databases("1", 0);
    let _first = databases.take().await.unwrap();
    let maker = suite.registry().await;
    let name = format!("txsafe_test_{}_made", suite.name);
    makes(&maker, &suite, &name).await;

    // While it lives, the clone is its own.
    let other = databases.take().await.unwrap();
    assert_ne!(other.name(), name);
    maker.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    let taken = databases.take().await.unwrap();
    assert_eq!(taken.name(), name);
    assert!(connect(taken.url()).await.is_ok());
}

/// Does what a process does that makes a clone, until the server has made it.
async fn makes(maker: &Client, suite: &Suite, name: &str) {
    let (template, owner) = (suite.template().await, fastrand::i32(1..));
    let begin = format!(
        "SELECT pg_advisory_lock({}, {owner});
         INSERT INTO databases SELECT '{name}', suite, fingerprint, 'making', {owner} FROM databases \
         WHERE name = '{template}'",
        0x7478_7366
    );
    maker.batch_execute(&begin).await.unwrap();
    maker.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
}

#[tokio::test]
async fn templates_that_nobody_has_used_for_long_are_dropped() {
    let suite = Suite::shared().await;
    let old = suite.databases("1", 1);
    drop(old.take().await.unwrap());
    let registry = suite.registry().await;
    let ready = suite.in_state("ready", |ready| ready.len() == 1).await.remove(0);
    let template = suite.template().await;
    let recent = suite.databases("2", 0);
    drop(recent.take().await.unwrap());
    let age = "UPDATE databases SET used_at = now() - interval '2 hours' WHERE fingerprint = \
               (SELECT fingerprint FROM databases WHERE name = $1)";
    registry.execute(age, &[&template]).await.unwrap();

    let new = suite.databases("3", 0);
    let _taken = new.take().await.unwrap();
    suite.is_gone(&template).await;
    suite.is_gone(&ready).await;
    suite.in_state("template", |templates| templates.len() == 2).await;
    // Whoever still wants the old one makes it again.
    drop(old.take().await.unwrap());
}

#[tokio::test]
async fn a_crash_of_the_server_forgets_all_and_leaves_nothing() {
    let server = Postgres::start().await.unwrap();
    let suite = Suite::on(&server);
    let databases = suite.databases("1", 1);
    let lost = databases.take().await.unwrap();
    suite.in_state("ready", |ready| ready.len() == 1).await;
    server.stop_immediately().await.unwrap();
    server.restart().await.unwrap();

    let next = databases.take().await.unwrap();
    assert!(connect(next.url()).await.is_ok());
    drop(lost);
    let another = suite.databases("1", 0);
    let _sweeps = another.take().await.unwrap();
    let client = connect(server.url()).await.unwrap();
    let registry = suite.registry().await;
    loop {
        let sql = "SELECT count(*) FROM pg_database WHERE datname LIKE 'txsafe\\_test\\_%'";
        let there: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        let known: i64 =
            registry.query_one("SELECT count(*) FROM databases", &[]).await.unwrap().get(0);
        if there == known {
            break;
        }
    }
}

#[tokio::test]
async fn a_test_that_panics_can_keep_its_database() {
    let suite = Suite::shared().await;
    let keep = [("TXSAFE_KEEP_DATABASES", "1"), ("TXSAFE_TEST_PANICS", "1")];
    let (mut panicking, name) = another_process(&suite, &keep);
    drop(panicking.stdin.take());
    let mut said = String::new();
    panicking.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!panicking.wait().unwrap().success());
    let line = format!(
        "TXSAFE_KEEP_DATABASES: the database of test databases::leftovers::is_played_by_another_process is kept: {name};"
    );
    assert!(said.contains(&line), "{said}");

    // Others clear up in the order of names, and leave it.
    let last = format!("txsafe_test_zzz_{}", suite.name);
    suite.registry().await.batch_execute(&format!("CREATE DATABASE {last}")).await.unwrap();
    let databases = suite.databases("1", 0);
    let _mine = databases.take().await.unwrap();
    suite.is_gone(&last).await;
    assert!(suite.exists(&name).await);
}

/// Another process that has taken a database, by this name, and keeps it until its input ends.
fn another_process(suite: &Suite, variables: &[(&str, &str)]) -> (Child, String) {
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "databases::leftovers::is_played_by_another_process", "--nocapture"])
        .env(SERVER, &suite.server)
        .env(SUITE, &suite.name)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let name = BufReader::new(process.stdout.as_mut().unwrap())
        .lines()
        .find_map(|line| Some(line.unwrap().split_once("database=")?.1.to_owned()))
        .expect("it takes a database");
    (process, name)
}

#[test]
fn is_played_by_another_process() {
    let Ok(url) = env::var(SERVER) else { return };
    let databases = txsafe_testkit::TestDatabases::builder(env::var(SUITE).unwrap())
        .fingerprint(["1"])
        .ahead(0)
        .server(url)
        .migrate(super::migrate);
    let database = databases.take_blocking().unwrap();
    println!("database={}", database.name());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    assert!(env::var("TXSAFE_TEST_PANICS").is_err(), "this test fails on purpose");
}
