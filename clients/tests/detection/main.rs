//! Which layer of the guard sees which call: measured, and written into `docs/detection.md`.
//!
//! ```sh
//! cargo test --test detection                  # fails if the committed table says something else
//! TXSAFE_WRITE=1 cargo test --test detection   # writes it anew
//! ```
//!
//! Each call is the closure of a transaction without a database, a [`Rehearsal`](txsafe::guard::Rehearsal). Drivers run
//! closures through the same scope, so what is seen here is what is seen there; and no PostgreSQL is needed.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod measure;
mod table;

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use measure::{Cell, Layer, Row};
use txsafe_clients::{Failed, Wait};

/// If it is set, the table is written and not compared.
const WRITE: &str = "TXSAFE_WRITE";

/// Calls that must be seen although nobody marked them, by the names that their cases begin with.
const SEEN: [&str; 20] = [
    "async_nats.connect",
    "aws.fresh",
    "aws.pooled",
    "file.",
    "hyper.http1.",
    "hyper.http2.",
    "lapin.confirm",
    "lapin.connect",
    "lettre.blocking",
    "lettre.fresh",
    "lettre.pooled",
    "redis.",
    "reqwest.fresh",
    "reqwest.pooled",
    "sleep.std",
    "sleep.tokio",
    "spawn.awaited",
    "tcp.",
    "tonic.",
    "ureq.",
];

/// Calls that nothing but a mark can see.
const UNSEEN: [&str; 5] =
    ["async_nats.publish", "mock", "reqwest.forgotten", "spawn.forgotten", "yield_now"];

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

#[test]
fn the_committed_table_is_the_measured_one() -> Outcome {
    let document = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/detection.md");
    let committed = fs::read_to_string(&document)?;
    let measured = table::replace(&committed, &table::write(rows()?))?;
    if env::var_os(WRITE).is_some() {
        fs::write(&document, measured)?;
        return Ok(());
    }
    if let Some(difference) = table::difference(&committed, &measured) {
        panic!(
            "docs/detection.md says something else than what was measured:\n{difference}\
             if that is meant: {WRITE}=1 cargo test --test detection",
        );
    }
    Ok(())
}

#[test]
fn system_calls_are_looked_at() {
    assert!(txsafe_interpose::is_active());
}

#[test]
fn calls_are_seen_that_nobody_marked() -> Outcome {
    for start in SEEN {
        let mut cases = rows()?.iter().filter(|row| row.case.name.starts_with(start)).peekable();
        assert!(cases.peek().is_some(), "there is no case {start}");
        cases.for_each(|row| assert!(row.is_seen_without_a_mark(), "{row:?}"));
    }
    Ok(())
}

#[test]
fn what_suspends_is_a_wait_and_what_blocks_is_a_blocked_poll() -> Outcome {
    for row in rows()? {
        let (waits, polls) = (row.cell(Layer::Waits), row.cell(Layer::Polls));
        let is_as_said = match row.case.wait {
            Wait::Suspends => matches!(waits, Cell::Seen(_)) && *polls == Cell::Never,
            Wait::Blocks => {
                *waits == Cell::Never && matches!(polls, Cell::Seen(_) | Cell::AsTheDisk)
            }
            Wait::Yields => *polls == Cell::Never,
            Wait::GoesOn => *waits == Cell::Never && *polls == Cell::Never,
        };
        assert!(is_as_said, "{row:?}");
    }
    Ok(())
}

#[test]
fn what_waits_for_nobody_is_seen_by_a_mark_only() -> Outcome {
    for name in UNSEEN {
        let row = rows()?.iter().find(|row| row.case.name == name);
        let row = row.ok_or_else(|| format!("there is no case {name}"))?;
        let mut unmarked = row.cells.iter().filter(|(layer, _)| *layer != Layer::Marks);
        assert!(unmarked.all(|(_, cell)| *cell == Cell::Never), "{row:?}");
    }
    Ok(())
}

#[test]
fn whatever_is_marked_is_seen() -> Outcome {
    for row in rows()? {
        assert!(matches!(row.cell(Layer::Marks), Cell::Seen(_)), "{row:?}");
    }
    Ok(())
}

/// Measured once, since it takes a while.
fn rows() -> Result<&'static [Row], &'static str> {
    static ROWS: OnceLock<Result<Vec<Row>, String>> = OnceLock::new();
    let measure = || {
        measure::listen()?;
        txsafe_clients::all().map(measure::row).collect::<Result<_, _>>()
    };
    let rows = ROWS.get_or_init(|| measure().map_err(|failed: Failed| failed.to_string()));
    rows.as_deref().map_err(String::as_str)
}
