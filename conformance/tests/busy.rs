//! Nothing is found in clean transactions, however busy the machine and the runtime are.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::{
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use txsafe::guard::Policy;
use txsafe_conformance::{
    drivers::{Call, Driver},
    findings::watching,
    script::{Script, Step},
    shop::Shop,
};

/// All drivers together; `TXSAFE_TRANSACTIONS` sets another number.
const TRANSACTIONS: usize = 10_000;
const TASKS: usize = 8;

/// Threads that want the processors, and tasks that want the runtime, until they are dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let is_over = Arc::<AtomicBool>::default();
        for _ in 0..4 {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                while !is_over.load(Relaxed) {
                    spin_loop();
                }
            });
        }
        for _ in 0..8 {
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                while !is_over.load(Relaxed) {
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_micros(100) {
                        spin_loop();
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        Self(is_over)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

async fn clean_transactions_are_clean(driver: Driver) {
    let shop = Shop::open("busy").await.unwrap();
    let (policy, findings) = watching(Policy::test());
    let db = shop.guarded(driver, policy);
    let _busy = Busy::start();
    let transactions = std::env::var("TXSAFE_TRANSACTIONS");
    let transactions = transactions.map_or(TRANSACTIONS, |number| number.parse().unwrap());
    let tasks = (0..TASKS).map(|task| {
        let db = Arc::clone(&db);
        tokio::spawn(async move {
            let account = i32::try_from(task).unwrap() + 1;
            let credit = |amount| Step::Credit(account, amount);
            let steps = [credit(1), Step::Savepoint(vec![credit(1)]), Step::sql("SELECT 1")];
            for _ in 0..transactions.div_ceil(Driver::ALL.len() * TASKS) {
                let script = Script::new(steps.clone());
                let _ = db.run(Call::new("clean"), script).await;
            }
        })
    });
    let mut failed = 0;
    for task in tasks.collect::<Vec<_>>() {
        failed += usize::from(task.await.is_err());
    }
    let findings = findings.lock().unwrap();
    let told: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty() && failed == 0, "{failed} failed: {}", told.join("\n"));
}

// One after another: each of them wants the whole machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clean_transactions_are_clean_with_every_driver() {
    for driver in Driver::ALL {
        clean_transactions_are_clean(driver).await;
    }
}
