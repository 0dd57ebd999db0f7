//! What the lock graph says of plain SQL, beside what the server does when the transactions meet.

use super::Case;
use crate::{
    drivers::{Call, Database, Driver, Setup},
    findings::{Findings, watching},
    script::{Script, Step},
    shop::Shop,
};
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio_postgres::NoTls;
use txsafe::{
    LockGraph, TxOptions,
    guard::{Code, Policy},
};

pub(super) const CASES: &[Case] = cases![
    a_row_that_was_claimed_without_waiting_makes_others_wait,
    a_claim_that_never_waits_closes_no_circle,
    advisory_locks_of_plain_sql_are_in_the_order_of_all,
    what_a_savepoint_gave_back_is_not_held,
    savepoints_that_fail_are_not_nested,
    two_orders_of_listed_rows_are_an_inversion,
    sorted_writers_wait_for_each_other_and_others_deadlock,
    the_server_sorts_what_is_any_of_an_array,
];

pub(super) const CLOSURE_CASES: &[Case] =
    closure_cases![many_savepoints_that_write_are_told, rows_that_are_listed_in_no_order_are_told,];

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
        Self::guarded(driver, name, tables, Policy::production()).await
    }

    async fn guarded(driver: Driver, name: &str, tables: &str, guard: Policy) -> Self {
        let shop = Shop::open(name).await.unwrap();
        shop.watcher.batch_execute(tables).await.unwrap();
        let graph = LockGraph::new();
        let setup = Setup {
            guard,
            lock_graph: graph.clone(),
            reports: shop.reports.clone(),
            ..Setup::default()
        };
        let db = driver.open_as(&shop.url, 4, shop.name(), setup);
        Self { shop, db, graph }
    }

    /// One whose findings are handed out.
    async fn watched(driver: Driver, name: &str) -> (Self, Findings) {
        let (policy, findings) = watching(Policy::production());
        (Self::guarded(driver, name, JOBS, policy).await, findings)
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
            Script::first([soon(), Step::sql(first), meet, Step::sql(second)], [])
        });
        self.run_both(&scripts, async {}).await
    }

    /// Lets two transactions run until both wait, and then ends the transaction of the watcher; whether one of them died in a
    /// deadlock, and then did nothing when it was tried again.
    async fn both_wait(&self, one: Step, other: Step) -> bool {
        let scripts = [one, other].map(|step| Script::first([soon(), step], []));
        let (looker, connection) = tokio_postgres::connect(&self.shop.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE $1 || '%'";
        self.run_both(&scripts, async {
            while looker.query(waiting, &[&self.shop.name()]).await.unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
            self.shop.watcher.batch_execute("COMMIT").await.unwrap();
        })
        .await
    }

    async fn run_both(&self, scripts: &[Script; 2], meanwhile: impl Future<Output = ()>) -> bool {
        // Longer than the server takes to find a deadlock.
        let call = Call::new("meet").with(TxOptions::new().adaptive_lock_timeout(false));
        let [one, other] = scripts;
        let ended = tokio::join!(
            self.db.run(call.clone(), one.clone()),
            self.db.run(call.clone(), other.clone()),
            meanwhile,
        );
        assert!(ended.0.is_ok() && ended.1.is_ok(), "{ended:?}");
        let attempts = one.attempts() + other.attempts();
        let Some(report) = self.shop.reports.take() else {
            assert_eq!(attempts, 2);
            return false;
        };
        let failed = report.failures.iter().filter_map(|attempt| attempt.failure.sqlstate());
        assert_eq!(failed.map(|code| code.to_string()).collect::<Vec<_>>(), ["40P01"], "{report}");
        assert_eq!(attempts, 3);
        true
    }
}

/// The server looks for deadlocks at once.
fn soon() -> Step {
    Step::sql("SET LOCAL deadlock_timeout = '10ms'")
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

async fn advisory_locks_of_plain_sql_are_in_the_order_of_all(driver: Driver) {
    // Advisory locks are the whole server's, and other tests have theirs.
    let key = fastrand::i32(1..);
    let one = format!("pg_advisory_xact_lock({key})");
    let two = format!("pg_advisory_xact_lock_shared({key}, 2)");
    let exclusive = format!("pg_advisory_xact_lock({key}, 2)");
    for (first, second, deadlock) in
        [(&one, &one, true), (&two, &exclusive, true), (&two, &two, false)]
    {
        let (first, second) = (format!("SELECT {first}"), format!("SELECT {second}"));
        let (locks, counts) = ([&*first, COUNT], [COUNT, &*second]);
        let arena = Arena::open(driver, "advisory", JOBS).await;
        arena.alone("locks", &locks).await;
        assert_eq!(arena.inversions(), 0);
        arena.alone("counts", &counts).await;
        assert_eq!(arena.inversions(), 1, "{first}");
        assert_eq!(arena.meet(locks, counts).await, deadlock, "{first} {second}");
    }
    let arena = Arena::open(driver, "advisory", JOBS).await;
    let (lock, tried) =
        (format!("SELECT {one}"), format!("SELECT pg_try_advisory_xact_lock({key})"));
    let (locks, tries) = ([&*lock, COUNT], [COUNT, &*tried]);
    arena.alone("locks", &locks).await;
    arena.alone("tries", &tries).await;
    assert_eq!(arena.inversions(), 0);
    assert!(!arena.meet(locks, tries).await, "an attempt that doesn't wait closes no circle");
}

async fn what_a_savepoint_gave_back_is_not_held(driver: Driver) {
    let (count, cancel) = (Step::sql(COUNT), Step::sql(CANCEL));
    let failing = |step: &Step| Step::Savepoint(vec![step.clone(), Step::Fail("undone")]);
    let sql = |sql: &str| Step::sql(sql);
    let given_back = [
        vec![failing(&cancel), count.clone()],
        vec![sql("SAVEPOINT a"), cancel.clone(), sql("ROLLBACK TO a"), count.clone()],
        vec![Step::sql(format!("SAVEPOINT a; {CANCEL}; ROLLBACK TO SAVEPOINT a")), count.clone()],
        vec![
            sql("SAVEPOINT a"),
            cancel.clone(),
            sql("SAVEPOINT a"),
            sql("RELEASE a"),
            sql("ROLLBACK TO a"),
            count.clone(),
        ],
        vec![Step::Savepoint(vec![failing(&cancel)]), count.clone()],
        vec![
            sql("SAVEPOINT a"),
            sql("SELECT id FROM jobs WHERE id = 1 FOR UPDATE NOWAIT"),
            sql("ROLLBACK TO a; RELEASE a"),
            count.clone(),
        ],
    ];
    let held = [
        vec![Step::Savepoint(vec![cancel.clone()]), count.clone()],
        vec![sql("SAVEPOINT a"), cancel.clone(), sql("RELEASE a"), count.clone()],
        vec![
            sql("SAVEPOINT a"),
            cancel.clone(),
            sql("SAVEPOINT a"),
            sql("ROLLBACK TO a"),
            count.clone(),
        ],
        vec![failing(&cancel), cancel, count],
    ];
    for (scripts, inversions) in [(&given_back[..], 0), (&held[..], 1)] {
        for steps in scripts {
            let arena = Arena::open(driver, "back", JOBS).await;
            arena.alone("before", &[COUNT, CANCEL]).await;
            arena.db.run(Call::new("behind"), Script::new(steps.clone())).await.unwrap();
            assert_eq!(arena.inversions(), inversions, "{steps:?}");
        }
    }
}

/// Each is released when it was rolled back. Otherwise the next one would be set inside it: each costs more than the one before, and
/// what is written there gives all of them an id.
async fn savepoints_that_fail_are_not_nested(driver: Driver) {
    let arena = Arena::open(driver, "nested", JOBS).await;
    let fails = [
        Step::Savepoint(vec![Step::sql(CANCEL), Step::Fail("undone")]),
        Step::Savepoint(vec![Step::sql("SELECT 1/0")]),
        Step::Savepoint(vec![Step::Savepoint(vec![Step::Fail("undone")]), Step::Fail("undone")]),
    ];
    let mut steps = times(10, &fails);
    // The server has one of these for each savepoint that is set.
    let ask = "INSERT INTO ledger SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'CurTransactionContext'";
    steps.push(Step::sql(ask));
    arena.db.run(Call::new("nested"), Script::new(steps)).await.unwrap();
    assert_eq!(arena.shop.ask("SELECT operation FROM ledger").await, 0);
}

fn times(n: usize, steps: &[Step]) -> Vec<Step> {
    std::iter::repeat_n(steps, n).flatten().cloned().collect()
}

async fn two_orders_of_listed_rows_are_an_inversion(driver: Driver) {
    for (up, down) in [
        (Step::UpsertListed(vec![1, 2, 3]), Step::UpsertListed(vec![3, 2, 1])),
        (Step::UpsertListed(vec![1, 2]), Step::UpsertListed(vec![2, 1])),
    ] {
        let arena = Arena::open(driver, "listed", JOBS).await;
        arena.db.run(Call::new("up"), Script::new([up.clone(), up])).await.unwrap();
        assert_eq!(arena.inversions(), 0);
        arena.db.run(Call::new("down"), Script::new([down])).await.unwrap();
        assert_eq!(arena.inversions(), 1);
    }
}

/// Two writers list nine rows, one upwards and one downwards. Both wait: one of them at least for the row in the middle, which
/// somebody else holds and then lets go.
async fn sorted_writers_wait_for_each_other_and_others_deadlock(driver: Driver) {
    let (up, down): (Vec<_>, Vec<_>) = ((1..=9).collect(), (1..=9).rev().collect());
    for (how, write, deadlock) in [
        ("listed", Step::UpsertListed as fn(_) -> _, true),
        ("upsert_many", Step::UpsertMany, false),
        ("update_many", Step::UpdateMany, false),
    ] {
        let arena = Arena::open(driver, "writers", JOBS).await;
        let rows = "INSERT INTO counters SELECT id FROM generate_series(2, 9) id";
        arena.shop.watcher.batch_execute(rows).await.unwrap();
        let middle = "BEGIN; SELECT id FROM counters WHERE id = 5 FOR UPDATE";
        arena.shop.watcher.batch_execute(middle).await.unwrap();
        let died = arena.both_wait(write(up.clone()), write(down.clone())).await;
        assert_eq!(died, deadlock, "{how}");
        let written = arena.shop.ask("SELECT sum(n) FROM counters").await;
        assert_eq!(written, if deadlock { 9 } else { 18 }, "{how}");
    }
}

/// So the order in which a program lists them doesn't matter, and is no finding. With other plans, or another number of keys, the
/// server goes by another order: the guide says so.
async fn the_server_sorts_what_is_any_of_an_array(driver: Driver) {
    let arena = Arena::open(driver, "any", JOBS).await;
    let rows = "INSERT INTO counters SELECT id FROM generate_series(2, 9) id";
    arena.shop.watcher.batch_execute(rows).await.unwrap();
    for form in ["IN (1, 2, 3, 4, 5, 6, 7, 8, 9)", "= ANY ('{1, 2, 3, 4, 5, 6, 7, 8, 9}')"] {
        let update = format!("UPDATE counters SET n = n + 1 WHERE id {form}");
        let reversed = update.replace("1, 2, 3, 4, 5, 6, 7, 8, 9", "9, 8, 7, 6, 5, 4, 3, 2, 1");
        let middle = "BEGIN; SELECT id FROM counters WHERE id = 5 FOR UPDATE";
        arena.shop.watcher.batch_execute(middle).await.unwrap();
        assert!(!arena.both_wait(Step::sql(update), Step::sql(reversed)).await, "{form}");
    }
    assert_eq!(arena.inversions(), 0);
}

async fn rows_that_are_listed_in_no_order_are_told(driver: Driver) {
    let upsert = |source: &str| {
        Step::sql(format!(
            "INSERT INTO counters (id, n) {source} ON CONFLICT (id) DO UPDATE SET n = counters.n + 1"
        ))
    };
    for (step, is_told) in [
        (Step::UpsertListed(vec![4, 1, 9]), true),
        (Step::UpsertMany(vec![4, 1, 9]), false),
        (upsert("VALUES (4, 1), (1, 1), (9, 1)"), true),
        (upsert("VALUES (1, 1), (4, 1), (9, 1)"), false),
        (upsert("SELECT k, 1 FROM unnest('{4, 1, 9}'::int[]) k"), true),
        (upsert("SELECT k, 1 FROM unnest('{4, 1, 9}'::int[]) k ORDER BY k"), false),
        (
            Step::sql(
                "UPDATE counters SET n = v.n FROM (VALUES (4, 1), (1, 1), (9, 1)) v (id, n) WHERE counters.id = v.id",
            ),
            true,
        ),
        (Step::sql("UPDATE counters SET n = 1 WHERE id IN (4, 1, 9)"), false),
    ] {
        let (arena, findings) = Arena::watched(driver, "unsorted").await;
        arena.db.run(Call::new("unsorted"), Script::new([step.clone()])).await.unwrap();
        let findings = findings.lock().unwrap();
        let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
        let expected: &[Code] = if is_told { &[Code::UnsortedRows] } else { &[] };
        assert_eq!(codes, expected, "{step:?}");
        assert!(findings.iter().all(|finding| finding.what.contains("of `counters`")));
    }
}

async fn many_savepoints_that_write_are_told(driver: Driver) {
    let write = Step::sql(COUNT);
    let read = Step::sql("SELECT 1");
    let savepoint = |steps: &[Step]| Step::Savepoint(steps.to_vec());
    let fails = savepoint(&[write.clone(), Step::Fail("undone")]);
    let plain = |end: &str| Step::sql(format!("{COUNT}; {end}"));
    let set = Step::sql("SAVEPOINT a");
    for (what, steps, is_told) in [
        ("64", vec![savepoint(std::slice::from_ref(&write)); 64], false),
        ("65", vec![savepoint(std::slice::from_ref(&write)); 65], true),
        ("a hundred that read", vec![savepoint(&[read]); 100], false),
        ("a hundred that fail", vec![fails; 100], false),
        ("a hundred of plain SQL", times(100, &[set.clone(), write, Step::sql("RELEASE a")]), true),
        (
            "a hundred that plain SQL rolls back",
            times(100, &[set, plain("ROLLBACK TO a; RELEASE a")]),
            false,
        ),
    ] {
        let (arena, findings) = Arena::watched(driver, "many").await;
        arena.db.run(Call::new("many"), Script::new(steps)).await.unwrap();
        let findings = findings.lock().unwrap();
        let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
        let expected: &[Code] = if is_told { &[Code::ManySubtransactions] } else { &[] };
        assert_eq!(codes, expected, "{what}");
    }
}
