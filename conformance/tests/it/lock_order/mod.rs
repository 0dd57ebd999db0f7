//! The lock order of types, on all three drivers: the same words, the same locks, the same refusals.

#![expect(clippy::print_stdout, reason = "a test that fails prints its seed")]

mod asynchronous;
mod blocking;
mod deadlock;
mod graph;
mod more_than_rows;
mod random;
mod sets;
mod watched;
mod writes;

mod town;
