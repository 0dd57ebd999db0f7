use super::*;
use crate::dialect::{postgres::changes::may_change, words::odd_texts};

/// What is left by statements that run one after another.
fn left(statements: &[&str]) -> SessionState {
    let mut state = SessionState::default();
    for sql in statements {
        // What isn't worth a look changes nothing.
        if may_change(sql) {
            state.ran(sql, true);
        }
    }
    state
}

fn kinds(statements: &[&str], is_committed: bool) -> Vec<Kind> {
    left(statements).left(is_committed).map(|left| left.kind).collect()
}

#[test]
fn each_kind_is_found_in_every_form() {
    for (kind, forms) in [
        (
            Kind::AdvisoryLock,
            &[
                "SELECT pg_advisory_lock(1)",
                "select PG_ADVISORY_LOCK ( $1 )",
                "SELECT pg_catalog.pg_advisory_lock(1, 2)",
                "SELECT pg_advisory_lock_shared(hashtext('a'))",
                "SELECT pg_try_advisory_lock(1)",
                "SELECT 1 WHERE pg_try_advisory_lock_shared(1)",
                "WITH l AS (SELECT pg_advisory_lock(1)) SELECT * FROM l",
                "INSERT INTO t SELECT pg_advisory_lock(1)",
                "/* who */ SELECT pg_advisory_lock(1)",
                "(SELECT pg_advisory_lock(1))",
            ][..],
        ),
        (
            Kind::Setting,
            &[
                "SET search_path = tenant_a",
                "set search_path to tenant_a",
                "SET SESSION statement_timeout TO '1s'",
                "SET app.tenant = 'default'",
                "SET TIME ZONE 'UTC'",
                "SET SCHEMA 'tenant_a'",
                "SET NAMES 'latin1'",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                "-- who\nSET x.y = 1",
                "SELECT 1; SET x.y = 1",
            ],
        ),
        (
            Kind::Role,
            &[
                "SET ROLE tenant",
                "SET SESSION ROLE 'tenant'",
                "SET role = tenant",
                "SET SESSION AUTHORIZATION tenant",
                "SET SESSION SESSION AUTHORIZATION tenant",
            ],
        ),
        (
            Kind::SetConfig,
            &[
                "SELECT set_config('app.tenant', $1, false)",
                "SELECT SET_CONFIG($1, f($2, 'a, b'), FALSE)",
                "UPDATE t SET a = set_config('x.y', 'z', 'off')",
                "SELECT set_config('x.y', 'z', 'f'::bool)",
            ],
        ),
        (Kind::Listen, &["LISTEN orders", "listen \"Orders\";"]),
        (
            Kind::TemporaryTable,
            &[
                "CREATE TEMP TABLE t (n int)",
                "CREATE LOCAL TEMPORARY TABLE IF NOT EXISTS t AS SELECT 1",
                "CREATE TEMP TABLE t (n int) ON COMMIT DELETE ROWS",
                "CREATE OR REPLACE TEMP VIEW t AS SELECT 1",
                "CREATE TEMP SEQUENCE t",
                "CREATE TABLE pg_temp.t (n int)",
                "SELECT 1 INTO TEMP t",
                "SELECT n INTO TEMPORARY TABLE t FROM (SELECT 1 AS n) one",
                "WITH one AS (SELECT 1) SELECT * INTO temp t FROM one",
            ],
        ),
        (Kind::PreparedStatement, &["PREPARE p AS SELECT 1", "prepare \"P\" (int) as select $1"]),
        (
            Kind::HeldCursor,
            &[
                "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
                "declare c no scroll cursor with hold for select 1",
            ],
        ),
    ] {
        for sql in forms {
            assert_eq!(kinds(&[sql], true), [kind], "{sql}");
            let survives = kind.survives_rollback();
            assert_eq!(kinds(&[sql], false).is_empty(), !survives, "{sql}");
        }
    }
}

#[test]
fn what_ends_with_the_transaction_is_not_found() {
    for sql in [
        "",
        "SELECT 1",
        "UPDATE accounts SET app_tenant = 1 WHERE id = 2",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1)",
        "SELECT 'pg_advisory_lock(1)', $$ pg_advisory_lock(1) $$",
        "SELECT proname FROM pg_proc WHERE proname = 'pg_advisory_lock'",
        "SELECT pg_advisory_lock FROM t",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT pg_advisory_lock(1); SET x.y = 1; END",
        "CREATE VIEW v AS SELECT pg_advisory_lock(1)",
        "EXPLAIN SELECT pg_advisory_lock(1)",
        "SET LOCAL search_path = a",
        "SET LOCAL ROLE tenant",
        "SET TRANSACTION READ ONLY",
        "SET CONSTRAINTS ALL DEFERRED",
        "SET transaction_isolation = 'serializable'",
        "BEGIN; SET txsafe.transaction = '7'; SET LOCAL lock_timeout = 20",
        "SELECT set_config('app.tenant', $1, true)",
        "SELECT set_config('app.tenant', 'false', $1)",
        "CREATE TEMP TABLE t (n int) ON COMMIT DROP",
        "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1",
        "CREATE TABLE t (temp int)",
        "CREATE TABLE t (n int); INSERT INTO temp SELECT 1",
        "WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO temp SELECT * FROM gone",
        "SELECT temp FROM template",
        "PREPARE TRANSACTION 'x'",
        "DECLARE c CURSOR FOR SELECT 1",
        "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
        "NOTIFY orders",
        "SELECT 'x; SET a.b = 1'",
    ] {
        assert_eq!(kinds(&[sql], true), [], "{sql}");
    }
}

#[test]
fn what_is_undone_is_gone() {
    for statements in [
        &["SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)"][..],
        &["SELECT pg_advisory_lock($1)", "SELECT pg_advisory_unlock(7)"],
        &["SELECT pg_advisory_lock_shared(1)", "SELECT pg_advisory_unlock_shared(1)"],
        &[
            "SELECT pg_advisory_lock(1), pg_advisory_lock(2)",
            "SELECT pg_advisory_unlock(2), pg_advisory_unlock(1)",
        ],
        &[
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_advisory_unlock_all()",
        ],
        &["SET a.b = 1", "RESET a.b"],
        &["SET a.b = 1", "SET A.B TO DEFAULT"],
        &["SET a.b = 1; SET c.d = 2", "RESET ALL"],
        &["SET TIME ZONE 'UTC'", "SET timezone = default"],
        &["SET TIME ZONE 'UTC'", "SET TIME ZONE LOCAL"],
        &["SELECT set_config('a.b', 'c', false)", "RESET a.b"],
        &["SET ROLE tenant", "RESET ROLE"],
        &["SET ROLE tenant", "SET ROLE NONE"],
        &["SET SESSION AUTHORIZATION tenant", "SET SESSION AUTHORIZATION DEFAULT"],
        &["SET SESSION AUTHORIZATION tenant", "RESET SESSION AUTHORIZATION"],
        &["LISTEN a", "UNLISTEN a"],
        &["LISTEN a", "LISTEN b", "UNLISTEN *"],
        &["CREATE TEMP TABLE t (n int)", "DROP TABLE IF EXISTS u, pg_temp.t CASCADE"],
        &["SELECT 1 INTO TEMP t", "DISCARD TEMP"],
        &["PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE PREPARE p"],
        &["PREPARE p AS SELECT 1", "DEALLOCATE ALL"],
        &["DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c"],
        &["DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE ALL"],
        &["SAVEPOINT a", "SET a.b = 1", "LISTEN c", "ROLLBACK TO SAVEPOINT a"],
    ] {
        assert_eq!(kinds(statements, true), [], "{statements:?}");
    }
}

#[test]
fn what_is_left_of_several_is_found() {
    for (statements, expected) in [
        (
            &["SELECT pg_advisory_lock(1), pg_advisory_lock(2)", "SELECT pg_advisory_unlock(1)"][..],
            1,
        ),
        (&["SET a.b = 1", "RESET c.d"], 1),
        (&["SET ROLE tenant", "RESET ALL"], 1),
        (&["LISTEN a", "UNLISTEN b"], 1),
        (&["RESET a.b", "SET a.b = 1"], 1),
        // A rollback brings back what was undone behind the savepoint, but for what no rollback touches.
        (&["SET a.b = 1", "SAVEPOINT s", "RESET a.b", "ROLLBACK TO s"], 1),
        (&["SAVEPOINT s", "SELECT pg_advisory_lock(1)", "ROLLBACK TO s"], 1),
        (&["SAVEPOINT s", "SET a.b = 1", "RELEASE s", "ROLLBACK TO s"], 1),
    ] {
        assert_eq!(kinds(statements, true).len(), expected, "{statements:?}");
    }
    let state = left(&["SELECT 1; SET a.b = 1 ; SELECT 2"]);
    assert_eq!(state.left(true).next().map(|left| &*left.sql), Some("SET a.b = 1"));
}

#[test]
fn what_failed_undoes_nothing_and_may_have_left_what_no_rollback_undoes() {
    let mut state = SessionState::default();
    state.ran("SELECT pg_advisory_lock(1)", true);
    state.ran("SELECT pg_advisory_unlock(1)", false);
    state.ran("SET a.b = 1", false);
    state.ran("SELECT pg_advisory_lock(2), 1 / 0", false);
    let left: Vec<_> = state.left(true).map(|left| (left.kind, left.is_certain)).collect();
    assert_eq!(left, [(Kind::AdvisoryLock, true), (Kind::AdvisoryLock, false)]);
}

#[test]
fn it_remembers_a_bounded_number() {
    let mut state = SessionState::default();
    for n in 0..10_000 {
        state.ran(&format!("SELECT pg_advisory_lock({n})"), true);
    }
    assert_eq!(state.left(false).count(), MOST_LEFT);
}

#[test]
fn no_text_is_too_odd() {
    let parts = [
        "SET ",
        "RESET ",
        "TO ",
        "CREATE ",
        "TEMP ",
        "TABLE ",
        "pg_advisory_lock",
        "(",
        ")",
        ",",
        ".",
        "set_config",
        "BEGIN ATOMIC ",
        "END",
        "SAVEPOINT ",
        "ROLLBACK TO ",
        "INTO ",
        "SELECT ",
        "a",
    ];
    odd_texts(&parts, |sql| {
        // It returns, whatever it finds.
        let _ = may_change(sql);
        SessionState::default().ran(sql, true);
    });
}
