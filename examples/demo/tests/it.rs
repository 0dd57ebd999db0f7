//! The demo as its user runs it.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use serde_json::Value;
use std::process::{Command, Output};

fn demo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_txsafe-demo")).args(args).output().unwrap()
}

#[test]
fn nothing_fails_behind_txsafe_and_the_books_are_exact() {
    let output = demo(&["--seconds", "2", "--json"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    let runs = last["runs"].as_array().unwrap();
    let modes: Vec<_> = runs.iter().map(|run| run["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["bare", "txsafe"]);
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
        assert!(runs.iter().all(|run| run[column].is_number()), "{column} in {printed}");
    }
    let ours = &runs[1];
    assert!(ours["committed"].as_u64().unwrap() > 0, "{printed}\n{told}");
    for column in ["failed", "lost", "duplicated"] {
        assert_eq!(ours[column], 0, "{column} in {printed}\n{told}");
    }
}

#[test]
fn a_wrong_url_is_told_and_not_repeated() {
    let output = demo(&["--database-url", "postgres://me:secret@127.0.0.1:1/shop"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("refused"), "{told}");
    assert!(!told.contains("secret") && !told.contains("panicked"), "{told}");
}
