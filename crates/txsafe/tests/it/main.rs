//! The core without a driver: one script, played by both run loops.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod holders;
mod keys;
mod loops;
mod no_aborted_state;
mod rerun;
mod script;
mod setup_sql;
