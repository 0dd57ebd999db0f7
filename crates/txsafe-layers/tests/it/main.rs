//! What layers tell of calls in transactions of a real database.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod axum;
mod reqwest;
mod support;
mod tower;
mod tracing;
