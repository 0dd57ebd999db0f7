//! The order in which transactions really lock, learned while they run.
//!
//! Every transaction notes what it locks: through types, and by plain SQL as far as the text tells. Each pair, *this was
//! held when that was wanted*, is an edge of a [`LockGraph`](edges::LockGraph). An edge that closes a cycle is an inversion:
//! it is reported the first time it is possible that transactions deadlock, although none did, and although the two never
//! ran at the same time.

#[cfg(feature = "sql")]
mod advisory;
pub mod attempt;
pub mod class;
pub mod edges;
pub mod inversion;
pub mod log;
pub mod observed;
#[cfg(feature = "sql")]
mod plain;
mod savepoints;
#[cfg(feature = "sql")]
mod sql;
