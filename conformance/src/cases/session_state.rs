//! The guard reports what a transaction leaves on the session of its connection, and a retry never meets it.

use super::Case;
use crate::{
    drivers::{Call, Database, Driver, Setup},
    findings::watching,
    script::{Script, Step, raise},
    shop::Shop,
};
use futures_util::{FutureExt, future::join_all};
use std::{panic::AssertUnwindSafe, sync::Arc};
use tokio::sync::Barrier;
use txsafe::guard::{Code, Policy, Severity};

pub(super) const CASES: &[Case] = cases![
    each_kind_of_session_state_names_itself,
    session_state_fails_a_test,
    what_ends_with_the_transaction_is_no_session_state,
    a_connection_with_session_state_is_closed_on_demand,
    an_attempt_never_waits_for_the_lock_of_the_one_before,
    an_attempt_that_unlocked_keeps_its_connection,
    a_statement_that_an_attempt_prepared_is_not_there_in_the_next,
    what_a_rollback_undoes_costs_no_connection,
    an_unlock_that_failed_leaves_the_lock,
];

/// A statement that leaves something, what undoes it again, what ends with the transaction instead, and how the finding calls
/// it, and the cure.
struct Leak {
    sql: &'static str,
    undo: &'static str,
    instead: &'static str,
    title: &'static str,
    cure: &'static str,
}

const LEAKS: [Leak; 8] = [
    Leak {
        sql: "SELECT pg_advisory_lock(KEY)",
        undo: "SELECT pg_advisory_unlock(KEY)",
        instead: "SELECT pg_advisory_xact_lock(KEY)",
        title: "a session-level advisory lock (pg_advisory_lock)",
        cure: "pg_advisory_xact_lock",
    },
    Leak {
        sql: "SET search_path = tenant_a",
        undo: "RESET search_path",
        instead: "SET LOCAL search_path = tenant_a",
        title: "a setting (SET)",
        cure: "SET LOCAL",
    },
    Leak {
        sql: "SET ROLE pg_monitor",
        undo: "RESET ROLE",
        instead: "SET LOCAL ROLE pg_monitor",
        title: "a role (SET ROLE)",
        cure: "SET LOCAL ROLE",
    },
    Leak {
        sql: "SELECT set_config('app.tenant', 'a', false)",
        undo: "RESET app.tenant",
        instead: "SELECT set_config('app.tenant', 'a', true)",
        title: "a setting (set_config(…, false))",
        cure: "set_config(…, …, true)",
    },
    Leak {
        sql: "LISTEN orders",
        undo: "UNLISTEN orders",
        instead: "NOTIFY orders",
        title: "a notification channel (LISTEN)",
        cure: "a connection of its own",
    },
    Leak {
        sql: "CREATE TEMP TABLE basket (n int)",
        undo: "DROP TABLE basket",
        instead: "CREATE TEMP TABLE basket (n int) ON COMMIT DROP",
        title: "a temporary table (CREATE TEMP TABLE)",
        cure: "ON COMMIT DROP",
    },
    Leak {
        sql: "PREPARE one AS SELECT 1",
        undo: "DEALLOCATE one",
        instead: "SELECT 1",
        title: "a prepared statement (PREPARE)",
        cure: "the driver's own prepared statements",
    },
    Leak {
        sql: "DECLARE one CURSOR WITH HOLD FOR SELECT 1",
        undo: "CLOSE one",
        instead: "DECLARE one CURSOR FOR SELECT 1",
        title: "a cursor (WITH HOLD)",
        cure: "without `WITH HOLD`",
    },
];

/// One statement, with a key that no other shop uses.
fn step(shop: &Shop, sql: &str) -> Step {
    Step::sql(with_key(shop, sql))
}

fn with_key(shop: &Shop, sql: &str) -> String {
    sql.replace("KEY", &format!("hashtext('{}')", shop.name()))
}

async fn each_kind_of_session_state_names_itself(driver: Driver) {
    for leak in &LEAKS {
        let shop = Shop::open("leaks").await.unwrap();
        for (policy, severity) in [
            (Policy::production(), Severity::Warn),
            (Policy::staging(), Severity::Warn),
            (Policy::dev(), Severity::Warn),
        ] {
            let (policy, findings) = watching(policy);
            let db = driver.open(&shop.url, 1, shop.name(), policy);
            db.run(Call::new("leaky"), Script::new([step(&shop, leak.sql)])).await.unwrap();
            // That of the others is theirs.
            db.run(Call::new("next"), Script::new([Step::sql("SELECT 1")])).await.unwrap();
            let findings = findings.lock().unwrap();
            let [finding] = &findings[..] else { panic!("{}: {findings:?}", leak.sql) };
            assert_eq!((finding.code, finding.severity), (Code::SessionState, severity));
            assert_eq!(&*finding.transaction, "leaky");
            assert!(finding.what.contains(leak.title), "{finding}");
            assert!(finding.what.contains(leak.cure), "{finding}");
            let statement = leak.sql.split("KEY").next().unwrap();
            assert!(finding.what.starts_with(&format!("`{statement}")), "{finding}");
        }
    }
}

async fn session_state_fails_a_test(driver: Driver) {
    let shop = Shop::open("fails").await.unwrap();
    let db = driver.open(&shop.url, 1, shop.name(), Policy::test());
    for leak in &LEAKS {
        let steps = [Step::Credit(1, 5), step(&shop, leak.sql)];
        let run = AssertUnwindSafe(db.run(Call::new("leaky"), Script::new(steps)));
        let panic = run.catch_unwind().await.expect_err(leak.sql);
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.starts_with("TXS010 session state: `"), "{text}");
        assert!(text.contains(leak.title), "{text}");
    }
    while shop.busy().await > 0 {}
    assert_eq!(shop.balance_of(1).await, 100, "rolled back");
}

async fn what_ends_with_the_transaction_is_no_session_state(driver: Driver) {
    let shop = Shop::open("clean").await.unwrap();
    // A finding would be a panic, and a connection that is closed another backend.
    let setup = Setup { guard: Policy::test(), close_on_session_state: true, ..Setup::default() };
    for db in [
        driver.open(&shop.url, 1, shop.name(), Policy::test()),
        driver.open_as(&shop.url, 1, shop.name(), setup),
    ] {
        let backend = backend_of(&shop, &*db).await;
        for leak in &LEAKS {
            let instead = Script::new([step(&shop, leak.instead)]);
            db.run(Call::new("instead"), instead).await.unwrap();
            let undone = Script::new([step(&shop, leak.sql), step(&shop, leak.undo)]);
            db.run(Call::new("undone"), undone).await.unwrap();
        }
        let behind_savepoints = LEAKS.iter().filter(|leak| {
            !leak.sql.contains("pg_advisory_lock") && !leak.sql.starts_with("PREPARE")
        });
        for leak in behind_savepoints {
            let fails = vec![step(&shop, leak.sql), Step::Fail("not that")];
            let rolled_back = Script::new([Step::Savepoint(fails)]);
            db.run(Call::new("rolled back"), rolled_back).await.unwrap();
        }
        assert_eq!(backend_of(&shop, &*db).await, backend);
    }
}

async fn a_connection_with_session_state_is_closed_on_demand(driver: Driver) {
    for closes in [true, false] {
        let shop = Shop::open("closes").await.unwrap();
        // Where nothing is left for anybody, nothing is found.
        let guard = if closes { Policy::test() } else { watching(Policy::dev()).0 };
        let setup = Setup { guard, close_on_session_state: closes, ..Setup::default() };
        let db = driver.open_as(&shop.url, 1, shop.name(), setup);
        for leak in &LEAKS {
            let before = backend_of(&shop, &*db).await;
            let steps = [Step::Credit(1, 1), step(&shop, leak.sql)];
            db.run(Call::new("leaky"), Script::new(steps)).await.unwrap();
            assert_eq!(backend_of(&shop, &*db).await != before, closes, "{}", leak.sql);
            if !closes {
                let undo = Script::new([step(&shop, leak.undo)]);
                db.run(Call::new("undo"), undo).await.unwrap();
            }
        }
        assert_eq!(shop.balance_of(1).await, 108, "committed all the same");
    }
}

async fn an_attempt_never_waits_for_the_lock_of_the_one_before(driver: Driver) {
    let shop = Shop::open("own").await.unwrap();
    let db = warm(&shop, driver).await;
    let lock = || step(&shop, "SELECT pg_advisory_lock(KEY)");
    let script = Script::first([lock(), Step::raise("40001")], [lock(), Step::Credit(1, 5)]);
    db.run(Call::new("locked"), script.clone()).await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (2, 105));
}

async fn an_attempt_that_unlocked_keeps_its_connection(driver: Driver) {
    let shop = Shop::open("unlocked").await.unwrap();
    let db = driver.open(&shop.url, 1, shop.name(), Policy::production());
    let before = backend_of(&shop, &*db).await;
    let lock = step(&shop, "SELECT pg_advisory_lock(KEY)");
    let unlock = step(&shop, "SELECT pg_advisory_unlock(KEY)");
    let script = Script::new([lock, unlock, Step::Fail("not today")]);
    drop(db.run(Call::new("unlocked"), script).await.unwrap_err());
    assert_eq!(backend_of(&shop, &*db).await, before);
}

async fn a_statement_that_an_attempt_prepared_is_not_there_in_the_next(driver: Driver) {
    let shop = Shop::open("prepared").await.unwrap();
    let db = driver.open(&shop.url, 1, shop.name(), Policy::production());
    let prepare = || Step::sql("PREPARE one AS SELECT 1");
    let script = Script::first([prepare(), Step::raise("40001")], [prepare()]);
    db.run(Call::new("prepared"), script.clone()).await.unwrap();
    assert_eq!(script.attempts(), 2);
}

async fn what_a_rollback_undoes_costs_no_connection(driver: Driver) {
    let shop = Shop::open("undone").await.unwrap();
    let setup = Setup { close_on_session_state: true, ..Setup::default() };
    let db = driver.open_as(&shop.url, 1, shop.name(), setup);
    let before = backend_of(&shop, &*db).await;
    let left =
        Step::sql("SET search_path = tenant_a; LISTEN orders; CREATE TEMP TABLE basket (n int)");
    let script = Script::new([left, Step::Fail("not today")]);
    drop(db.run(Call::new("fails"), script).await.unwrap_err());
    assert_eq!(backend_of(&shop, &*db).await, before);
}

async fn an_unlock_that_failed_leaves_the_lock(driver: Driver) {
    let shop = Shop::open("aborted").await.unwrap();
    let db = warm(&shop, driver).await;
    // As a guard does that unlocks whatever has happened: the server refuses it in an aborted transaction.
    let lock = || step(&shop, "SELECT pg_advisory_lock(KEY)");
    let aborted = [
        lock(),
        Step::Swallow(raise("40001")),
        Step::Swallow(with_key(&shop, "SELECT pg_advisory_unlock(KEY)")),
    ];
    let script = Script::first(aborted, [lock()]);
    db.run(Call::new("aborted"), script.clone()).await.unwrap();
    assert_eq!(script.attempts(), 2);
}

/// A database whose four connections are open.
async fn warm(shop: &Shop, driver: Driver) -> Arc<dyn Database> {
    let db = driver.open(&shop.url, 4, shop.name(), Policy::production());
    let all = Arc::new(Barrier::new(4));
    let meet = Step::awaiting(move || {
        let all = Arc::clone(&all);
        async move {
            all.wait().await;
            Ok(())
        }
    });
    let meeting = || db.run(Call::new("warm"), Script::new([Step::sql("SELECT 1"), meet.clone()]));
    for met in join_all([(); 4].map(|()| meeting())).await {
        met.unwrap();
    }
    db
}

/// The backend of its one connection; one that is closed goes soon.
async fn backend_of(shop: &Shop, db: &dyn Database) -> i32 {
    db.run(Call::new("any"), Script::new([Step::sql("SELECT 1")])).await.unwrap();
    loop {
        if let [backend] = shop.backends().await[..] {
            return backend;
        }
    }
}
