//! What the lock graph says of plain SQL, beside what the server does when the transactions meet.

use super::Case;
use crate::{
    drivers::{Call, Database, Driver, Setup},
    script::{Script, Step},
    shop::Shop,
};
use std::sync::Arc;
use tokio::sync::Barrier;
use txsafe::{LockGraph, TxOptions};

pub(super) const CASES: &[Case] = cases![
    a_row_that_was_claimed_without_waiting_makes_others_wait,
    a_claim_that_never_waits_closes_no_circle,
];

const JOBS: &str = "
    CREATE TABLE jobs (id int PRIMARY KEY, is_new bool NOT NULL DEFAULT true);
    INSERT INTO jobs SELECT id FROM generate_series(1, 5) id;
    CREATE TABLE counters (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
    INSERT INTO counters VALUES (1);
";
const COUNT: &str = "UPDATE counters SET n = n + 1 WHERE id = 1";
const CANCEL: &str = "UPDATE jobs SET is_new = false WHERE id = 1";

/// Transactions that do the first statement, wait until the other has done its own, and do the second one.
struct Arena {
    shop: Shop,
    db: Arc<dyn Database>,
    graph: LockGraph,
}

impl Arena {
    async fn open(driver: Driver, name: &str, tables: &str) -> Self {
        let shop = Shop::open(name).await.unwrap();
        shop.watcher.batch_execute(tables).await.unwrap();
        let graph = LockGraph::new();
        let setup =
            Setup { lock_graph: graph.clone(), reports: shop.reports.clone(), ..Setup::default() };
        let db = driver.open_as(&shop.url, 4, shop.name(), setup);
        Self { shop, db, graph }
    }

    /// Runs a transaction that meets nobody.
    async fn alone(&self, name: &'static str, statements: &[&str]) {
        let steps: Vec<_> = statements.iter().map(|sql| Step::sql(*sql)).collect();
        self.db.run(Call::new(name), Script::new(steps)).await.unwrap();
    }

    async fn all_are_new(&self) {
        self.shop.watcher.batch_execute("UPDATE jobs SET is_new = true").await.unwrap();
    }

    /// How many inversions the graph has noticed.
    fn inversions(&self) -> usize {
        self.graph.inversions().len()
    }

    /// Lets two transactions meet between their statements; whether one of them died in a deadlock, and then
    /// did nothing when it was tried again.
    async fn meet(&self, one: [&str; 2], other: [&str; 2]) -> bool {
        let met = Arc::new(Barrier::new(2));
        let scripts = [one, other].map(|[first, second]| {
            let met = Arc::clone(&met);
            let meet = Step::awaiting(move || {
                let met = Arc::clone(&met);
                async move {
                    met.wait().await;
                    Ok(())
                }
            });
            let soon = Step::sql("SET LOCAL deadlock_timeout = '10ms'");
            let (first, second) = (Step::sql(first), Step::sql(second));
            Script::first([soon, first, meet, second], [])
        });
        // Longer than the server takes to find a deadlock.
        let call = Call::new("meet").with(TxOptions::new().adaptive_lock_timeout(false));
        let [one, other] = &scripts;
        let ended = tokio::join!(
            self.db.run(call.clone(), one.clone()),
            self.db.run(call.clone(), other.clone()),
        );
        assert!(ended.0.is_ok() && ended.1.is_ok(), "{ended:?}");
        let attempts = one.attempts() + other.attempts();
        let Some(report) = self.shop.reports.take() else {
            assert_eq!(attempts, 2);
            return false;
        };
        let failed = report.failures.iter().filter_map(|attempt| attempt.failure.sqlstate());
        assert_eq!(failed.map(|code| code.to_string()).collect::<Vec<_>>(), ["40P01"]);
        assert_eq!(attempts, 3);
        true
    }
}

async fn a_row_that_was_claimed_without_waiting_makes_others_wait(driver: Driver) {
    for (how, of) in
        [("SKIP LOCKED", "WHERE is_new"), ("NOWAIT", "WHERE id = 1"), ("", "WHERE is_new")]
    {
        let claim = format!("SELECT id FROM jobs {of} ORDER BY id LIMIT 1 FOR UPDATE {how}");
        let (worker, cancels) = ([&claim, COUNT], [COUNT, CANCEL]);
        let arena = Arena::open(driver, "claimed", JOBS).await;
        arena.alone("worker", &worker).await;
        arena.alone("cancels", &cancels).await;
        assert_eq!(arena.inversions(), 1, "{claim}");
        arena.all_are_new().await;
        assert!(arena.meet(worker, cancels).await, "the server agrees: {claim}");
    }
}

async fn a_claim_that_never_waits_closes_no_circle(driver: Driver) {
    let claims = [
        "SELECT id FROM jobs WHERE is_new ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
        "UPDATE jobs SET is_new = false WHERE id = (SELECT id FROM jobs WHERE is_new ORDER BY id LIMIT 1
         FOR UPDATE SKIP LOCKED)",
        "WITH claimed AS (SELECT id FROM jobs WHERE is_new ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
         UPDATE jobs SET is_new = false FROM claimed WHERE jobs.id = claimed.id",
        "SELECT id FROM jobs WHERE id = 2 FOR UPDATE NOWAIT",
        "LOCK TABLE jobs IN ROW SHARE MODE NOWAIT",
    ];
    for claim in claims {
        let (worker, cancels) = ([COUNT, claim], [CANCEL, COUNT]);
        let arena = Arena::open(driver, "claims", JOBS).await;
        arena.alone("worker", &worker).await;
        arena.alone("cancels", &cancels).await;
        assert_eq!(arena.inversions(), 0, "{claim}");
        arena.all_are_new().await;
        assert!(!arena.meet(worker, cancels).await, "the server agrees: {claim}");
    }
}
