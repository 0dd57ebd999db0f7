//! How long a test waits for a database of its own.

use crate::{
    Result,
    figure::{Findings, Value, median},
    ground::Ground,
    plan::Plan,
    work::runtime,
};
use std::{
    env,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tokio_postgres::{Client, NoTls};
use txsafe_testkit::{Postgres, TestDatabases};

/// Set for a process that stands for one test.
const ONE_TEST: &str = "TXSAFE_BENCH_ONE_TEST_AT";

const TABLES: usize = 20;

/// Tests that run at once, as on two cores.
const THREADS: usize = 2;

const TESTS_OF_A_THREAD: usize = 20;

/// What a test does with its database besides a statement.
const WORK: Duration = Duration::from_millis(50);

/// Tests of one process, as `cargo test` runs them.
pub(crate) fn in_one_process(_: &Ground, plan: &Plan) -> Result<Findings> {
    let server = Postgres::start_blocking()?;
    let databases = databases(server.url());
    measured("test_database_wait_ms", plan, &|| wait(&databases))
}

/// Tests that have a process each, as `cargo nextest run` runs them.
pub(crate) fn in_processes(_: &Ground, plan: &Plan) -> Result<Findings> {
    let server = Postgres::start_blocking()?;
    measured("test_database_wait_process_ms", plan, &|| {
        let mut process = Command::new(env::current_exe()?);
        let output = process.env(ONE_TEST, server.url()).stderr(Stdio::inherit()).output()?;
        let printed = String::from_utf8(output.stdout)?;
        let (waited, connected) =
            printed.trim().split_once(' ').ok_or("two numbers are printed")?;
        Ok((waited.parse()?, connected.parse()?))
    })
}

/// Plays the one test of a process that was started for it, and prints what [`wait`] returns.
#[expect(clippy::print_stdout, reason = "whoever started the process reads it")]
pub(crate) fn is_one_test() -> Result<bool> {
    let Ok(url) = env::var(ONE_TEST) else { return Ok(false) };
    let (waited, connected) = wait(&databases(&url))?;
    println!("{waited} {connected}");
    Ok(true)
}

fn measured(
    name: &'static str,
    plan: &Plan,
    test: &(dyn Fn() -> Result<(f64, f64)> + Sync),
) -> Result<Findings> {
    // It makes the template.
    test()?;
    let (mut rounds, mut all, mut connects) = (vec![], vec![], vec![]);
    for _ in 0..plan.rounds {
        let waits = thread::scope(|scope| {
            let tests = || (0..TESTS_OF_A_THREAD).map(|_| test()).collect::<Result<Vec<_>>>();
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(tests)).collect();
            let joined = threads.into_iter().map(|thread| thread.join().expect("it doesn't panic"));
            joined.collect::<Result<Vec<_>>>()
        })?
        .concat();
        let (waits, connected): (Vec<_>, Vec<_>) = waits.into_iter().unzip();
        connects.extend(connected);
        all.extend(&waits);
        rounds.push(median(waits));
    }
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize];
    let note = format!(
        "{name}: p50 {:.1}, p95 {:.1}, longest {:.1} ms of {} tests, {THREADS} at once, {TABLES} tables, without fsync; \
         to connect to it took {:.1} ms more (p50)",
        at(0.5),
        at(0.95),
        at(1.0),
        all.len(),
        median(connects),
    );
    Ok(Findings { values: vec![Value::of_rounds(name, &rounds)], notes: vec![note] })
}

/// A test: how many milliseconds it waits for its database, and how many to connect to it, before it uses that for a while.
fn wait(databases: &TestDatabases) -> Result<(f64, f64)> {
    runtime()?.block_on(async {
        let asked = Instant::now();
        let database = databases.take().await?;
        let waited = asked.elapsed();
        let client = connect(database.url()).await?;
        let connected = asked.elapsed() - waited;
        client.batch_execute("INSERT INTO t0 (name) VALUES ('a')").await?;
        tokio::time::sleep(WORK).await;
        Ok((waited.as_secs_f64() * 1e3, connected.as_secs_f64() * 1e3))
    })
}

fn databases(url: &str) -> TestDatabases {
    TestDatabases::builder("bench").fingerprint(["1"]).server(url).migrate(migrate)
}

async fn migrate(url: String) -> std::result::Result<(), tokio_postgres::Error> {
    let client = connect(&url).await?;
    for table in 0..TABLES {
        let sql = format!(
            "CREATE TABLE t{table} (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, n int);
             CREATE INDEX ON t{table} (n)"
        );
        client.batch_execute(&sql).await?;
    }
    Ok(())
}

async fn connect(url: &str) -> std::result::Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
