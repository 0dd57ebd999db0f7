//! What happens without any client: sockets, timers, files, tasks, locks.
//!
//! This module needs tokio and nothing else, and names nothing outside of itself. So it can be used where the
//! clients would be too heavy: `#[path = "…/clients/src/plain/mod.rs"] mod plain;`.

mod case;
mod files;
pub mod line;
mod mock;
mod server;
mod sockets;
mod tasks;
mod timers;

pub use case::{Call, Case, Failed, Left, Prepared, Wait, call};
pub use server::{ANSWER_DELAY, Server, answer_delay, answer_slowly, hesitate};

/// All cases that need no client.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [sockets::CASES, timers::CASES, files::CASES, tasks::CASES, mock::CASES].into_iter().flatten()
}
