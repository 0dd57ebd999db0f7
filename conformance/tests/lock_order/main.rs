//! The lock order of types, on all three drivers: the same words, the same locks, the same refusals.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod asynchronous;
mod blocking;

mod town;
