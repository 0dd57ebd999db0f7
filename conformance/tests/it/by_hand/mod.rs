//! Transactions that are begun and ended by hand: what a loop of attempts, which the suite runs, doesn't show.

mod asynchronous;
mod blocking;

use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use txsafe::guard::{Finding, Policy};
use txsafe_conformance::shop::Shop;

/// More than a pool has connections, and than a leak of any of them would let through.
const EARLY_RETURNS: i64 = 1_000;

const CREDIT: &str = "UPDATE accounts SET balance = balance + 1 WHERE id = 1";

type Findings = Arc<Mutex<Vec<Finding>>>;

/// Findings are handed out.
fn watching(policy: Policy) -> (Policy, Findings) {
    let findings = Findings::default();
    let receive = Arc::clone(&findings);
    (policy.on_finding(move |found| receive.lock().unwrap().push(found.clone())), findings)
}

/// So many were found; their lines are looked up by a thread of its own.
fn found(findings: &Findings, number: usize) -> Vec<Finding> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let found = findings.lock().unwrap().clone();
        if found.len() >= number || Instant::now() > until {
            assert_eq!(found.len(), number, "{found:#?}");
            return found;
        }
        thread::yield_now();
    }
}

async fn open() -> Shop {
    Shop::open("by_hand").await.unwrap()
}
