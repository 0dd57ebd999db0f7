//! Every fault at every place does what its documentation says.

use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error, NoTls, error::SqlState};
use txsafe_testkit::{At, Fault, Lab, LabSession, Postgres, Schema};

/// A session of a lab, a client that connected through it, and one that went around it.
struct Bench {
    session: LabSession,
    client: Client,
    /// The server process behind the client.
    pid: i32,
    watcher: Client,
    _schema: Schema,
}

impl Bench {
    async fn new() -> Self {
        let schema = Postgres::shared().await.unwrap().schema("lab").await.unwrap();
        let watcher = connect(schema.url()).await.unwrap();
        watcher.batch_execute("CREATE TABLE notes (id int)").await.unwrap();
        let session = Lab::new(schema.url()).unwrap().session().await.unwrap();
        let client = connect(session.url()).await.unwrap();
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        Self { session, client, pid, watcher, _schema: schema }
    }

    fn inject(&self, at: At, fault: Fault) {
        self.session.inject(at, fault).unwrap();
    }

    /// One transaction of two statements; the second one is prepared.
    async fn write(&self) -> Result<(), Error> {
        self.client.batch_execute("BEGIN").await?;
        self.client.batch_execute("INSERT INTO notes VALUES (1)").await?;
        self.client.execute("INSERT INTO notes VALUES ($1)", &[&2]).await?;
        self.client.batch_execute("COMMIT").await
    }

    async fn notes(&self) -> i64 {
        self.watcher.query_one("SELECT count(*) FROM notes", &[]).await.unwrap().get(0)
    }

    /// Waits until the server has seen the end of the client's connection.
    async fn is_gone(&self) {
        let sql = "SELECT FROM pg_stat_activity WHERE pid = $1";
        while self.watcher.query_opt(sql, &[&self.pid]).await.unwrap().is_some() {}
    }
}

async fn connect(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn code(result: Result<(), Error>) -> Option<String> {
    Some(result.unwrap_err().code()?.code().to_owned())
}

#[tokio::test]
async fn a_cut_breaks_the_connection_and_what_was_not_committed_is_gone() {
    for at in [At::Begin, At::Nth(1), At::Nth(2), At::Commit] {
        let bench = Bench::new().await;
        bench.inject(at, Fault::CutBefore);
        assert!(bench.write().await.unwrap_err().is_closed(), "{at:?}");
        bench.is_gone().await;
        assert_eq!((bench.notes().await, bench.session.waiting()), (0, 0), "{at:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_was_given() {
    for (at, notes) in [(At::Begin, 0), (At::Nth(1), 0), (At::Nth(2), 0), (At::Commit, 2)] {
        let bench = Bench::new().await;
        bench.inject(at, Fault::CutAfterApplied);
        assert!(bench.write().await.unwrap_err().is_closed(), "{at:?}");
        bench.is_gone().await;
        assert_eq!(bench.notes().await, notes, "{at:?}");
    }
}

#[tokio::test]
async fn a_racing_cut_leaves_all_or_nothing() {
    let bench = Bench::new().await;
    bench.inject(At::Commit, Fault::CutRacing);
    assert!(bench.write().await.unwrap_err().is_closed());
    bench.is_gone().await;
    assert!([0, 2].contains(&bench.notes().await));
}

#[tokio::test]
async fn the_server_raises_any_code_and_the_connection_lives_on() {
    let bench = Bench::new().await;
    for at in [At::Nth(1), At::Nth(2), At::Commit] {
        bench.inject(at, Fault::Raise("40001"));
        assert_eq!(code(bench.write().await).as_deref(), Some("40001"), "{at:?}");
        if at == At::Commit {
            // Rolled back already; at a statement the transaction waits for its end.
            bench.client.batch_execute("SELECT 1").await.unwrap();
        } else {
            let aborted = code(bench.client.batch_execute("SELECT 1").await);
            assert_eq!(aborted.as_deref(), Some(SqlState::IN_FAILED_SQL_TRANSACTION.code()));
            bench.client.batch_execute("ROLLBACK").await.unwrap();
        }
        assert_eq!(bench.notes().await, 0, "{at:?}");
    }
    bench.write().await.unwrap();
    assert_eq!((bench.notes().await, bench.session.injected()), (2, 3));
}

#[tokio::test]
async fn a_fatal_error_is_the_last_word() {
    let bench = Bench::new().await;
    bench.inject(At::Nth(1), Fault::Fatal("57P01"));
    assert_eq!(code(bench.write().await).as_deref(), Some("57P01"));
    assert!(bench.client.batch_execute("SELECT 1").await.unwrap_err().is_closed());
}

#[tokio::test]
async fn from_a_black_hole_no_answer_comes() {
    let bench = Bench::new().await;
    bench.inject(At::Commit, Fault::Blackhole);
    tokio::select! {
        biased;
        answered = bench.write() => panic!("answered: {answered:?}"),
        () = async { while bench.notes().await < 2 {} } => {}
    }
}

#[tokio::test]
async fn a_server_that_dies_under_a_fault_ends_the_connection() {
    let bench = Bench::new().await;
    bench.inject(At::Nth(1), Fault::CutAfterApplied);
    bench.client.batch_execute("BEGIN").await.unwrap();
    let suicide = "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(600)";
    assert!(bench.client.batch_execute(suicide).await.unwrap_err().is_closed());
}

#[tokio::test]
async fn a_delay_is_as_long_as_it_says() {
    let (bench, delay) = (Bench::new().await, Duration::from_millis(50));
    bench.inject(At::Commit, Fault::Delay(delay));
    let start = Instant::now();
    bench.write().await.unwrap();
    assert!(start.elapsed() >= delay);
    assert_eq!(bench.notes().await, 2);
}

#[tokio::test]
async fn connecting_can_fail_too() {
    let bench = Bench::new().await;
    for fault in [Fault::CutBefore, Fault::CutRacing, Fault::CutAfterApplied] {
        bench.inject(At::Connect, fault.clone());
        assert!(connect(bench.session.url()).await.is_err(), "{fault:?}");
    }
    for fault in [Fault::Fatal("53300"), Fault::Raise("53300")] {
        bench.inject(At::Connect, fault);
        let refused = connect(bench.session.url()).await.map(drop);
        assert_eq!(code(refused).as_deref(), Some("53300"));
    }
    connect(bench.session.url()).await.unwrap();
}

#[tokio::test]
async fn a_request_to_cancel_gets_through() {
    let bench = Bench::new().await;
    let cancel = bench.client.cancel_token();
    let sleeping = bench.client.batch_execute("SELECT pg_sleep(600) /* cancelled */");
    let cancelling = async {
        let sql =
            "SELECT FROM pg_stat_activity WHERE query LIKE '%cancelled */' AND state = 'active'
                   AND pid <> pg_backend_pid()";
        while bench.watcher.query(sql, &[]).await.unwrap().is_empty() {}
        cancel.cancel_query(NoTls).await
    };
    let (slept, cancelled) = tokio::join!(sleeping, cancelling);
    cancelled.unwrap();
    assert_eq!(code(slept).as_deref(), Some(SqlState::QUERY_CANCELED.code()));
}

#[tokio::test]
async fn dropping_a_session_breaks_its_connections() {
    let Bench { session, client, .. } = Bench::new().await;
    drop(session);
    while client.batch_execute("SELECT 1").await.is_ok() {}
    assert!(client.is_closed());
}

#[tokio::test]
async fn mistakes_are_told_before_anything_runs() {
    assert!(Lab::new("nonsense").unwrap_err().to_string().contains("URL"));
    assert!(Lab::new("postgresql:///app").unwrap_err().to_string().contains("host"));
    let bench = Bench::new().await;
    let error = bench.session.inject(At::Commit, Fault::Raise("deadlock")).unwrap_err();
    assert!(error.to_string().contains("\"deadlock\" is no SQLSTATE"), "{error}");
    assert_eq!(bench.session.waiting(), 0);
}

#[tokio::test]
async fn what_waits_for_ever_can_be_cut() {
    let bench = Bench::new().await;
    bench.inject(At::Nth(1), Fault::Blackhole);
    let cut = async {
        while bench.session.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        bench.session.cut();
    };
    let (written, ()) = tokio::join!(bench.write(), cut);
    assert!(written.unwrap_err().is_closed());
    bench.is_gone().await;
    assert!(connect(bench.session.url()).await.is_ok(), "new connections get through");
}
