//! The demo as its user runs it.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use serde_json::Value;
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
    let runs = runs(&output);
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

/// Elsewhere a lock timeout may end a circle before anybody knows that it was one. Here the server looks first.
#[test]
fn nobody_waits_in_a_circle_where_locks_have_an_order() {
    let server = Postgres::builder().setting("deadlock_timeout", "1ms").start_blocking().unwrap();
    let output = demo(&["--seconds", "2", "--json", "--database-url", server.url()]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let runs = runs(&output);
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

/// The rows of the table, as the last line of stdout has them.
fn runs(output: &Output) -> Vec<Value> {
    let printed = String::from_utf8_lossy(&output.stdout);
    let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    last["runs"].as_array().unwrap().clone()
}
