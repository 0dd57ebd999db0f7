//! What the tests share: a small shop in a schema of its own, a watcher, and a relay with faults.

pub(crate) mod relay;
mod shop;

pub(crate) use shop::{AppError, Shop, accounts, balance, credit};

use std::sync::atomic::{AtomicU32, Ordering};

/// Counts attempts from inside a closure, which can't mutate what it captured.
#[derive(Debug, Default)]
pub(crate) struct Attempts(AtomicU32);

impl Attempts {
    /// Starts the next attempt; says whether it is the first.
    pub(crate) fn is_first(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) == 0
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Asks until the answer is yes: each question is a round trip to a server, which is what is waited for.
pub(crate) async fn until(what: &str, mut question: impl AsyncFnMut() -> bool) {
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !question().await {
        assert!(std::time::Instant::now() < patience, "{what} did not come about");
        tokio::task::yield_now().await;
    }
}
