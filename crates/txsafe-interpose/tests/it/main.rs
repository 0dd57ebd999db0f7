//! What is seen of a transaction's system calls, on a real PostgreSQL.

#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod asynchronous;
mod blocking;
mod raw;
mod support;

use txsafe_interpose as _;
