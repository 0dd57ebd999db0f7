//! What a lab learns of locks that no text of a statement shows.

use std::sync::Arc;
use tokio_postgres::{Client, SimpleQueryMessage, error::SqlState};
use txsafe::{Inversion, LockGraph};
use txsafe_testkit::{At, Fault, Lab, LabSession, Postgres, Schema};

use crate::database::connect;

const TABLES: &str = "
    CREATE TABLE parents (id int PRIMARY KEY, n int);
    CREATE TABLE children (id int, parent int REFERENCES parents ON DELETE CASCADE);
    CREATE TABLE x (id int, n int);
    CREATE TABLE y (id int, n int);
    CREATE TABLE counters (n int);
    CREATE TABLE audit (what text);
    INSERT INTO parents VALUES (1, 0), (2, 0);
    INSERT INTO children VALUES (1, 2);
    INSERT INTO x VALUES (1, 0), (2, 0);
    INSERT INTO y VALUES (1, 0);
    INSERT INTO counters VALUES (0);
";

const X: &str = "UPDATE x SET n = 1 WHERE id = 1";
const Y: &str = "UPDATE y SET n = 1";
const COUNTERS: &str = "UPDATE counters SET n = n + 1";

/// A client whose locks are watched.
struct Bench {
    graph: LockGraph,
    session: LabSession,
    client: Client,
    schema: Schema,
}

impl Bench {
    async fn new() -> Self {
        let schema = Postgres::shared().await.unwrap().schema("locks").await.unwrap();
        connect(schema.url()).await.unwrap().batch_execute(TABLES).await.unwrap();
        let graph = LockGraph::new();
        let lab = Lab::new(schema.url()).unwrap().watch_locks(&graph);
        let session = lab.session().await.unwrap();
        let client = connect(session.url()).await.unwrap();
        Self { graph, session, client, schema }
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// One transaction, each statement for itself.
    async fn transaction(&self, name: &str, statements: &[&str]) {
        self.run(&format!("BEGIN; SET LOCAL application_name = 'shop/{name}'")).await;
        for sql in statements {
            self.run(sql).await;
        }
        self.run("COMMIT").await;
    }

    /// The only inversion.
    #[track_caller]
    fn inversion(&self) -> Arc<Inversion> {
        let [one] = &self.graph.inversions()[..] else { panic!("{:?}", self.graph.inversions()) };
        Arc::clone(one)
    }

    /// The edges that were observed.
    fn edges(&self) -> Vec<String> {
        let drawn = self.graph.observed_order().dot();
        let edges = drawn.lines().filter_map(|line| line.trim().split_once(" ["));
        edges.map(|(edge, _)| edge.replace('"', "")).collect()
    }
}

#[tokio::test]
async fn foreign_keys_are_seen_although_no_text_names_their_table() {
    let bench = Bench::new().await;
    bench.transaction("rename", &["SELECT FROM parents WHERE id = 1 FOR UPDATE", X]).await;
    bench.graph.assert_no_inversions();
    let child = "INSERT INTO children VALUES (2, 1)";
    bench.transaction("adopt", &[X, child]).await;
    let inversion = bench.inversion();
    assert_eq!(inversion.classes(), ("x".into(), "parents".into()));
    assert_eq!(inversion.transactions(), ["adopt".into(), "rename".into()]);
    let text = inversion.to_string();
    assert!(
        text.contains(&format!(
            "transaction \"adopt\": `x` (by `{X}`), then `parents` (by `{child}`)"
        )),
        "{text}"
    );
}

#[tokio::test]
async fn triggers_are_seen() {
    let bench = Bench::new().await;
    bench
        .run(
            "CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN UPDATE counters SET n = n + 1; RETURN NULL; END $$;
             CREATE TRIGGER counted AFTER UPDATE ON x FOR EACH ROW EXECUTE FUNCTION count_it()",
        )
        .await;
    bench.transaction("count", &[COUNTERS, Y]).await;
    bench.transaction("trigger", &[Y, X]).await;
    assert_eq!(bench.inversion().classes(), ("y".into(), "counters".into()));
}

#[tokio::test]
async fn cascades_are_seen() {
    let bench = Bench::new().await;
    bench.transaction("children", &["DELETE FROM children WHERE id = 1", X]).await;
    bench.run("INSERT INTO children VALUES (1, 2)").await;
    bench.transaction("cascade", &[X, "DELETE FROM parents WHERE id = 2"]).await;
    assert_eq!(bench.inversion().classes(), ("x".into(), "children".into()));
}

#[tokio::test]
async fn rows_that_are_only_inserted_are_in_nobodys_way() {
    let bench = Bench::new().await;
    bench
        .run(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN INSERT INTO audit VALUES (TG_TABLE_NAME); RETURN NULL; END $$;
             CREATE TRIGGER x_noted AFTER UPDATE ON x FOR EACH ROW EXECUTE FUNCTION note();
             CREATE TRIGGER y_noted AFTER UPDATE ON y FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await;
    bench.transaction("both", &[X, Y]).await;
    // The counters of a session outlive its transactions; these rows are nobody's in the next one.
    bench.run("UPDATE audit SET what = 'seen'").await;
    bench.transaction("both", &[X, "INSERT INTO audit VALUES ('x')", Y]).await;
    bench.transaction("alone", &["UPDATE audit SET what = 'seen again'"]).await;
    bench.run("BEGIN; INSERT INTO audit VALUES ('at once')").await;
    bench.run(Y).await;
    bench.run("ROLLBACK").await;
    assert_eq!(bench.edges(), ["x -> y"]);
}

#[tokio::test]
async fn what_a_savepoint_gave_back_is_not_held() {
    let bench = Bench::new().await;
    let undone = ["SAVEPOINT s", Y, "INSERT INTO children VALUES (2, 1)", "ROLLBACK TO s"];
    bench.transaction("undone", &[&undone[..], &[X, "INSERT INTO y VALUES (2)"]].concat()).await;
    bench.transaction("kept", &["SAVEPOINT s", COUNTERS, "RELEASE s", X]).await;
    assert_eq!(bench.edges(), ["counters -> x", "y -> parents"]);
    // From a failed one, too.
    bench.run("BEGIN").await;
    bench.run("SAVEPOINT s").await;
    bench.run(X).await;
    assert!(bench.client.batch_execute("SELECT 1 / 0").await.is_err());
    bench.run("ROLLBACK TO s").await;
    bench.run(COUNTERS).await;
    bench.run("COMMIT").await;
    bench.graph.assert_no_inversions();
}

#[tokio::test]
async fn tables_are_named_as_plain_sql_names_them() {
    let bench = Bench::new().await;
    let other = format!("{}_shop", bench.schema.name());
    bench
        .run(&format!(
            "CREATE SCHEMA {other}; CREATE TABLE {other}.orders (n int); INSERT INTO {other}.orders VALUES (1);
             CREATE TABLE parts (id int, n int) PARTITION BY RANGE (id);
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (9);
             INSERT INTO parts VALUES (1, 1); CREATE TABLE txsafe_ours (n int); INSERT INTO txsafe_ours VALUES (1)"
        ))
        .await;
    let statements = [
        "UPDATE txsafe_ours SET n = 2",
        &format!("UPDATE {other}.orders SET n = 2"),
        "UPDATE parts SET n = 2",
        "LOCK TABLE audit IN SHARE MODE",
        "CREATE TABLE fresh (n int)",
        "CREATE TEMPORARY TABLE own (n int); INSERT INTO own VALUES (1); UPDATE own SET n = 2",
        "TRUNCATE counters",
    ];
    bench.transaction("names", &statements).await;
    bench.run(&format!("DROP SCHEMA {other} CASCADE")).await;
    let orders = format!("{other}.orders -> parts");
    assert_eq!(bench.edges(), ["audit -> counters", "parts -> audit", &orders]);
}

#[tokio::test]
async fn what_is_skipped_is_not_waited_for() {
    let bench = Bench::new().await;
    bench.transaction("straight", &[X, Y]).await;
    let skipping = "SELECT FROM x WHERE id = 2 FOR UPDATE SKIP LOCKED";
    bench.transaction("skip", &[Y, skipping, COUNTERS]).await;
    assert_eq!(bench.edges(), ["x -> counters", "x -> y", "y -> counters"]);
}

#[tokio::test]
async fn a_transaction_may_choose_its_isolation_after_begin_and_keeps_its_snapshot() {
    let bench = Bench::new().await;
    bench.run("BEGIN").await;
    bench.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await;
    // Nothing was read yet: what is committed by now is seen.
    connect(bench.schema.url()).await.unwrap().batch_execute(Y).await.unwrap();
    let row = bench.client.query_one("SELECT n FROM y", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
    bench.run(Y).await;
    bench.run("COMMIT").await;
}

#[tokio::test]
async fn pipelined_statements_are_answered_as_ever() {
    let bench = Bench::new().await;
    let client = &bench.client;
    let x = client.prepare("UPDATE x SET n = n + $1 WHERE id = 1 RETURNING n").await.unwrap();
    let child = client.prepare("INSERT INTO children VALUES (3, 1)").await.unwrap();
    for expected in [1, 2] {
        let (begun, updated, selected, inserted, committed) = tokio::join!(
            client.batch_execute("BEGIN"),
            client.query_one(&x, &[&1]),
            client.simple_query("SELECT 7 AS n"),
            client.execute(&child, &[]),
            client.batch_execute("COMMIT"),
        );
        begun.unwrap();
        assert_eq!(updated.unwrap().get::<_, i32>(0), expected);
        let selected = selected.unwrap();
        let seven = selected.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        assert_eq!((seven, inserted.unwrap()), (Some("7"), 1));
        committed.unwrap();
    }
    assert_eq!(bench.edges(), ["x -> parents"]);
}

#[tokio::test]
async fn copy_passes_and_is_seen() {
    use futures_util::{SinkExt, pin_mut};

    let bench = Bench::new().await;
    for inside in [false, true] {
        if inside {
            bench.run("BEGIN").await;
            bench.run(X).await;
        }
        let sink = bench.client.copy_in("COPY children FROM STDIN").await.unwrap();
        pin_mut!(sink);
        sink.send(&b"7\t1\n8\t1\n"[..]).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 2);
    }
    // The client hears of the rows first, and then the lab looks.
    bench.run("SAVEPOINT s").await;
    assert_eq!(bench.edges(), ["x -> parents"]);
    let sink = bench.client.copy_in("COPY children FROM STDIN").await.unwrap();
    pin_mut!(sink);
    sink.send(&b"nonsense\n"[..]).await.unwrap();
    assert!(sink.finish().await.is_err());
    bench.run("ROLLBACK TO s").await;
    bench.run(COUNTERS).await;
    bench.run("COMMIT").await;
    let rows = bench.client.query_one("SELECT count(*) FROM children", &[]).await.unwrap();
    assert_eq!(rows.get::<_, i64>(0), 5);
}

#[tokio::test]
async fn a_failed_statement_fails_as_ever() {
    let bench = Bench::new().await;
    bench.run("BEGIN").await;
    bench.run(X).await;
    let failed = bench.client.batch_execute("SELECT 1 / 0").await.unwrap_err();
    assert_eq!(failed.code(), Some(&SqlState::DIVISION_BY_ZERO));
    let refused = bench.client.query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
    bench.run("ROLLBACK").await;
    bench.transaction("next", &[Y, X]).await;
    assert_eq!(bench.edges(), ["y -> x"]);
}

#[tokio::test]
async fn statements_without_a_name_outlive_the_question() {
    let bench = Bench::new().await;
    bench.run("BEGIN").await;
    bench.run(X).await;
    let typed = bench.client.query_typed("SELECT n FROM x WHERE id = 1", &[]).await.unwrap();
    assert_eq!(typed[0].get::<_, i32>(0), 1);
    bench.run("COMMIT").await;
    let sql = "SELECT count(*) FROM pg_prepared_statements WHERE name = 'txsafe_lab'";
    let left = bench.client.query_one(sql, &[]).await.unwrap();
    assert_eq!(left.get::<_, i64>(0), 0, "and the lab leaves none");
}

#[tokio::test]
async fn a_server_that_ends_ends_the_connection() {
    let bench = Bench::new().await;
    let pid = bench.client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
    bench.run("BEGIN").await;
    bench.run(X).await;
    let other = connect(bench.schema.url()).await.unwrap();
    other.execute("SELECT pg_terminate_backend($1)", &[&pid.get::<_, i32>(0)]).await.unwrap();
    let ended = bench.client.batch_execute(Y).await.unwrap_err();
    assert!(ended.is_closed() || ended.code() == Some(&SqlState::ADMIN_SHUTDOWN), "{ended}");
}

#[tokio::test]
async fn faults_strike_where_they_did() {
    let bench = Bench::new().await;
    bench.session.inject(At::Nth(2), Fault::Raise("40001")).unwrap();
    bench.run("BEGIN").await;
    bench.run(X).await;
    let raised = bench.client.batch_execute(Y).await.unwrap_err();
    assert_eq!(raised.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    bench.run("ROLLBACK").await;
    bench.session.inject(At::Commit, Fault::CutAfterApplied).unwrap();
    bench.run("BEGIN").await;
    bench.run(Y).await;
    bench.run(X).await;
    assert!(bench.client.batch_execute("COMMIT").await.unwrap_err().is_closed());
    assert_eq!((bench.edges(), bench.session.waiting()), (vec!["y -> x".to_owned()], 0));
}
