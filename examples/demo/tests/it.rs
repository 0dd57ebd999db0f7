//! The demo as its user runs it.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use serde_json::{Value, json};
use std::process::{Command, Output};
use txsafe_testkit::Postgres;

fn demo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_txsafe-demo")).args(args).output().unwrap()
}

#[test]
fn nothing_fails_behind_txsafe_and_the_books_are_exact() {
    let output = demo(&["--seconds", "2", "--json"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let runs = rows(&output, "runs");
    let modes: Vec<_> = runs.iter().map(|run| run["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["bare", "txsafe", "ordered"]);
    for column in [
        "committed",
        "failed",
        "deadlocks",
        "lock_timeouts",
        "retries",
        "p50_ms",
        "p99_ms",
        "per_second",
        "lost",
        "duplicated",
    ] {
        assert!(runs.iter().all(|run| run[column].is_number()), "{column} in {runs:?}");
    }
    for ours in &runs[1..] {
        assert!(ours["committed"].as_u64().unwrap() > 0, "{ours}\n{told}");
        for column in ["failed", "lost", "duplicated"] {
            assert_eq!(ours[column], 0, "{column} in {ours}\n{told}");
        }
    }
}

/// Its exit code says so, too; here the numbers are looked at.
#[test]
fn the_guard_tells_of_the_handler_that_waits_and_of_no_other() {
    let output = demo(&["--seconds", "1", "--json"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let sales = rows(&output, "guard");
    let found: Vec<_> = sales.iter().map(|sale| (&sale["pays"], &sale["findings"])).collect();
    assert_eq!(found, [(&json!("inside"), &json!(["TXS001"])), (&json!("outside"), &json!([]))]);
    for column in ["sold", "others_p50_ms", "others_max_ms"] {
        assert!(sales.iter().all(|sale| sale[column].is_number()), "{column} in {sales:?}");
    }
    assert!(
        told.contains("TXS001 external wait: waited ") && told.contains("holds `concerts`"),
        "{told}"
    );
}

/// Elsewhere a lock timeout may end a circle before anybody knows that it was one. Here the server looks first.
#[test]
fn nobody_waits_in_a_circle_where_locks_have_an_order() {
    let server = Postgres::builder().setting("deadlock_timeout", "1ms").start_blocking().unwrap();
    let output = demo(&["--seconds", "2", "--json", "--database-url", server.url()]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let runs = rows(&output, "runs");
    assert_ne!(runs[0]["deadlocks"], 0, "the server finds those that there are\n{told}");
    assert_eq!(runs[2]["deadlocks"], 0, "{told}");
}

#[test]
fn a_wrong_url_is_told_and_not_repeated() {
    let output = demo(&["--database-url", "postgres://me:secret@127.0.0.1:1/shop"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("refused"), "{told}");
    assert!(!told.contains("secret") && !told.contains("panicked"), "{told}");
}

/// The rows of a table, as the last line of stdout has them.
fn rows(output: &Output, table: &str) -> Vec<Value> {
    let printed = String::from_utf8_lossy(&output.stdout);
    let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    last[table].as_array().unwrap().clone()
}
