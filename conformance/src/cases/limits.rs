//! Limits that aren't txsafe's are kept: those of a role, a hook of the pool, or whoever else has set one for the session.

use super::{Case, local::check};
use crate::{
    drivers::{Call, Driver, Library, Setup},
    script::{Script, Step},
    shop::Shop,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use txsafe::{Cause, ErrorKind, Isolation, Outcome, Phase, Timeout, TxOptions};
use txsafe_testkit::Postgres;

pub(super) const CASES: &[Case] = cases![
    a_statement_timeout_of_the_role_is_kept,
    a_lock_timeout_of_the_role_is_a_bound_like_ours,
    a_lock_timeout_of_the_role_is_kept_at_commit,
    limits_in_any_unit_are_read,
    what_a_hook_of_the_pool_has_set_is_kept,
    what_was_set_between_transactions_is_kept,
    what_a_transaction_has_set_for_its_session_is_kept,
    a_connection_that_its_caller_holds_keeps_its_limits,
    a_limit_says_whose_it_was,
    limits_can_be_left_to_the_server,
    begin_and_commit_can_do_without_set,
    where_nothing_is_set_nothing_is_called_committed_that_is_not,
];

const MS: Duration = Duration::from_millis(1);

/// A shop on a server of its own, whose role has these settings.
async fn shop_of_role(name: &str, settings: &[(&str, &str)]) -> (Shop, Postgres) {
    let server = Postgres::start().await.unwrap();
    let shop = Shop::on(&server, name).await.unwrap();
    for (setting, value) in settings {
        set_for_role(&shop, setting, value).await;
    }
    (shop, server)
}

/// New connections have it.
async fn set_for_role(shop: &Shop, setting: &str, value: &str) {
    let sql = format!("ALTER ROLE postgres SET {setting} = '{value}'");
    shop.watcher.batch_execute(&sql).await.unwrap();
}

/// Fails unless the server shows this value.
fn shows(setting: &str, value: &str) -> Step {
    check(&format!("current_setting('{setting}') = '{value}'"))
}

async fn a_statement_timeout_of_the_role_is_kept(driver: Driver) {
    let (shop, _server) = shop_of_role("role_statement", &[("statement_timeout", "300ms")]).await;
    let db = shop.database(driver);
    for _ in 0..2 {
        let script =
            Script::new([shows("statement_timeout", "300ms"), Step::sql("SELECT pg_sleep(60)")]);
        let start = Instant::now();
        db.run(Call::new("sleeps"), script.clone()).await.unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        let report = shop.reports.last();
        assert_eq!((script.attempts(), report.outcome), (1, Outcome::RolledBack));
        let told = report.failures[0].to_string();
        assert!(told.contains("the session's own `statement_timeout` is 300ms"), "{told}");
        assert!(told.contains("ALTER ROLE"), "{told}");
    }
}

async fn a_lock_timeout_of_the_role_is_a_bound_like_ours(driver: Driver) {
    let (shop, _server) = shop_of_role("role_lock", &[("lock_timeout", "20ms")]).await;
    let db = shop.database(driver);
    let taken = "BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2";
    shop.watcher.batch_execute(taken).await.unwrap();
    let long = TxOptions::new().lock_timeout(20_000 * MS).adaptive_lock_timeout(false);
    let first = [shows("lock_timeout", "20ms"), Step::Credit(2, 1)];
    let script = Script::first(first, [Step::Credit(1, 1)]);
    db.run(Call::new("waits").with(long.clone()), script.clone()).await.unwrap();
    let failure = &shop.reports.last().failures[0];
    assert_eq!((script.attempts(), failure.cause), (2, Cause::LockTimeout), "{failure}");
    assert_eq!(failure.lock_timeout, Some(20 * MS), "{failure}");

    // One that is shorter still is the closure's own, and meant.
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();
    set_for_role(&shop, "lock_timeout", "20s").await;
    shop.watcher.batch_execute(taken).await.unwrap();
    let meant = Script::new([Step::sql("SET LOCAL lock_timeout = 1"), Step::Credit(2, 1)]);
    let waits = TxOptions::new().lock_timeout(Timeout::Server);
    let db = shop.database(driver);
    db.run(Call::new("means it").with(waits), meant.clone()).await.unwrap_err();
    assert_eq!(meant.attempts(), 1, "{}", shop.reports.last());
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();
}

async fn a_lock_timeout_of_the_role_is_kept_at_commit(driver: Driver) {
    let (shop, _server) = shop_of_role("role_commit", &[("lock_timeout", "20ms")]).await;
    let waits_in_commit = "
        CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN UPDATE accounts SET balance = balance WHERE id = 2; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION waits()";
    shop.watcher.batch_execute(waits_in_commit).await.unwrap();
    let db = shop.database(driver);
    let taken = "BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2";
    shop.watcher.batch_execute(taken).await.unwrap();
    for adapts in [true, false] {
        let options = TxOptions::new().lock_timeout(20_000 * MS).adaptive_lock_timeout(adapts);
        let writes = Step::sql("INSERT INTO ledger VALUES (1)");
        let script = Script::first([writes], [Step::Credit(1, 1)]);
        let start = Instant::now();
        db.run(Call::new("commits").with(options), script.clone()).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        let failure = &shop.reports.last().failures[0];
        let is_it = (failure.phase, failure.cause) == (Phase::Commit, Cause::LockTimeout);
        assert!(is_it && script.attempts() == 2, "{failure}");
    }
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(shop.balance_of(1).await, 102);
}

async fn limits_in_any_unit_are_read(driver: Driver) {
    let (shop, _server) = shop_of_role("units", &[]).await;
    let options = TxOptions::new().lock_timeout(5_000 * MS).adaptive_lock_timeout(false);
    for (of_role, holds) in [
        ("1500us", "2ms"),
        ("50ms", "50ms"),
        ("3s", "3s"),
        ("3000", "3s"),
        ("1min", "5s"),
        ("2h", "5s"),
        ("0", "5s"),
    ] {
        set_for_role(&shop, "lock_timeout", of_role).await;
        let db = shop.database_at(driver, &shop.url, 1);
        for _ in 0..2 {
            let script = Script::new([shows("lock_timeout", holds)]);
            let ran = db.run(Call::new("reads").with(options.clone()), script).await;
            ran.unwrap_or_else(|error| panic!("{of_role}: {error:?}"));
        }
    }
}

async fn what_a_hook_of_the_pool_has_set_is_kept(driver: Driver) {
    let shop = Shop::open("hooked").await.unwrap();
    let hook = "SET statement_timeout = '7s'; SET idle_in_transaction_session_timeout = '8s'";
    let setup = Setup { on_connect: Some(hook), ..Setup::default() };
    let db = driver.open_as(&shop.url, 1, shop.name(), setup);
    let script = Script::new([
        shows("statement_timeout", "7s"),
        shows("idle_in_transaction_session_timeout", "8s"),
        Step::Credit(1, 1),
    ]);
    for _ in 0..2 {
        db.run(Call::new("hooked"), script.clone()).await.unwrap();
    }
    assert_eq!(shop.balance_of(1).await, 102);
}

async fn what_was_set_between_transactions_is_kept(driver: Driver) {
    let shop = Shop::open("between").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    let limit = |value| Script::new([shows("statement_timeout", value)]);
    db.run(Call::new("before"), limit("30s")).await.unwrap();
    if driver.library() == Library::Sqlx {
        // What runs between on a connection of SQLx isn't seen, but for the hooks that a pool was given by our options.
        let setup = Setup { on_checkout: Some(HOOK), ..Setup::default() };
        let db = driver.open_as(&shop.url, 1, shop.name(), setup);
        db.run(Call::new("fresh"), limit("30s")).await.unwrap();
        for _ in 0..2 {
            db.run(Call::new("hooked"), limit("7s")).await.unwrap();
        }
    } else {
        for (sql, value) in [
            (HOOK, "7s"),
            ("SELECT set_config('statement_timeout', '6s', false)", "6s"),
            ("RESET statement_timeout", "30s"),
            ("SET SESSION statement_timeout = '1h'", "30s"),
        ] {
            db.leave(sql).await.unwrap();
            for _ in 0..2 {
                let ran = db.run(Call::new("between"), limit(value)).await;
                ran.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            }
        }
    }
}

const HOOK: &str = "SET statement_timeout = '7s'";

async fn what_a_transaction_has_set_for_its_session_is_kept(driver: Driver) {
    let shop = Shop::open("session_set").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    let limit = |value| Script::new([shows("statement_timeout", value)]);
    db.run(Call::new("before"), limit("30s")).await.unwrap();
    // Behind COMMIT it holds for the session; behind ROLLBACK it never did.
    for (step, left) in [
        (Step::sql(HOOK), "7s"),
        (Step::Lent("RESET statement_timeout".into()), "30s"),
        (Step::Savepoint(vec![Step::sql(HOOK), Step::Fail("again")]), "30s"),
    ] {
        db.run(Call::new("sets"), Script::new([step])).await.unwrap();
        for _ in 0..2 {
            db.run(Call::new("behind"), limit(left)).await.unwrap();
        }
    }
}

async fn a_connection_that_its_caller_holds_keeps_its_limits(driver: Driver) {
    let shop = Shop::open("held_limits").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    let limit = |value| Script::new([shows("statement_timeout", value)]);
    db.run(Call::new("before"), limit("30s")).await.unwrap();
    let reset = "RESET statement_timeout";
    db.run_on(HOOK, Call::new("held"), limit("7s"), reset).await.unwrap();
    db.run_on("SELECT 1", Call::new("held"), limit("30s"), "SELECT 1").await.unwrap();
}

async fn a_limit_says_whose_it_was(driver: Driver) {
    let shop = Shop::open("whose").await.unwrap();
    let db = shop.database(driver);
    let sleep = || Step::sql("SELECT pg_sleep(60)");
    let inside = Step::sql("SET LOCAL statement_timeout = '20ms'");
    let ours = TxOptions::new().lock_timeout(20 * MS).statement_timeout(50 * MS);
    for (options, steps, whose) in [
        (ours, vec![sleep()], "txsafe's `statement_timeout` is 50ms"),
        (TxOptions::new(), vec![inside, sleep()], "that was set inside the transaction"),
    ] {
        db.run(Call::new("sleeps").with(options), Script::new(steps)).await.unwrap_err();
        let told = shop.reports.last().failures[0].to_string();
        assert!(told.contains(whose), "{told}");
    }
    let none = TxOptions::new().statement_timeout(Duration::ZERO);
    let refused = db.run(Call::new("zero").with(none), Script::new([])).await.unwrap_err();
    assert!(refused.ours().to_string().contains("`Timeout::Server`"));
}

async fn limits_can_be_left_to_the_server(driver: Driver) {
    let limits = [
        ("lock_timeout", "1h"),
        ("statement_timeout", "2h"),
        ("idle_in_transaction_session_timeout", "3h"),
    ];
    let (shop, _server) = shop_of_role("left", &limits).await;
    let db = shop.database_at(driver, &shop.url, 1);
    let left = TxOptions::new()
        .lock_timeout(Timeout::Server)
        .statement_timeout(Timeout::Server)
        .idle_in_transaction_session_timeout(Timeout::Server);
    let script = Script::new(limits.map(|(setting, value)| shows(setting, value)));
    db.run(Call::new("left").with(left), script).await.unwrap();
    // Each for itself.
    let left = TxOptions::new().statement_timeout(Timeout::Server);
    let script = Script::new([
        shows("statement_timeout", "2h"),
        shows("idle_in_transaction_session_timeout", "30s"),
        check("current_setting('lock_timeout')::interval < '2.1s'"),
    ]);
    db.run(Call::new("one left").with(left), script).await.unwrap();
}

async fn begin_and_commit_can_do_without_set(driver: Driver) {
    let shop = Arc::new(Shop::open("bare").await.unwrap());
    let setup = Setup { without_set: true, ..Setup::default() };
    let db = driver.open_as(&shop.url, 1, "service", setup);
    let begun = {
        let shop = Arc::clone(&shop);
        Step::awaiting(move || {
            let shop = Arc::clone(&shop);
            let sql = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'
                 AND state = 'idle in transaction' AND query = 'BEGIN NOT DEFERRABLE'",
                shop.name()
            );
            async move {
                // Its answer isn't waited for on every driver.
                let patience = Instant::now() + Duration::from_secs(10);
                while shop.ask(&sql).await != 1 {
                    assert!(Instant::now() < patience, "BEGIN said something else");
                }
                Ok(())
            }
        })
    };
    let script = Script::new([
        begun,
        shows("lock_timeout", "0"),
        shows("statement_timeout", "0"),
        shows("idle_in_transaction_session_timeout", "0"),
        shows("client_connection_check_interval", "0"),
        shows("application_name", shop.name()),
        check("current_setting('txsafe.transaction', true) IS NULL"),
        Step::Credit(1, 1),
    ]);
    db.run(Call::new("bare"), script).await.unwrap();

    let strict = TxOptions::new().isolation(Isolation::Serializable).read_only(true);
    let strict = strict.deferrable(true);
    let script = Script::new([
        shows("transaction_isolation", "serializable"),
        shows("transaction_read_only", "on"),
        shows("transaction_deferrable", "on"),
        check("current_setting('txsafe.transaction', true) IS NULL"),
    ]);
    db.run(Call::new("strict").with(strict), script).await.unwrap();

    for (options, setting) in [
        (TxOptions::new().lock_timeout(20 * MS), "`lock_timeout`"),
        (TxOptions::new().role("reader"), "`without_set`"),
    ] {
        let refused = db.run(Call::new("sets").with(options), Script::new([])).await.unwrap_err();
        let told = refused.ours().to_string();
        assert!(told.contains(setting) && told.contains("sets nothing"), "{told}");
    }
    let retried = Script::first([Step::Credit(1, 1), Step::raise("40001")], [Step::Credit(1, 1)]);
    db.run(Call::new("again"), retried.clone()).await.unwrap();
    assert_eq!((retried.attempts(), shop.balance_of(1).await, shop.busy().await), (2, 102, 0));
}

async fn where_nothing_is_set_nothing_is_called_committed_that_is_not(driver: Driver) {
    let shop = Shop::open("bare_ends").await.unwrap();
    let setup = Setup { without_set: true, ..Setup::default() };
    let db = driver.open_as(&shop.url, 1, shop.name(), setup);
    let credit = || Step::Credit(1, 1);

    let swallowed = Script::new([credit(), Step::Swallow("SELECT 1/0".into())]);
    let error = db.run(Call::new("swallowed"), swallowed).await.unwrap_err().ours();
    assert!(error.is_rolled_back_at_commit(), "{error:?}");
    assert_eq!(shop.balance_of(1).await, 100);

    let left = Script::new([credit(), Step::sql("COMMIT; BEGIN"), credit()]);
    let error = db.run(Call::new("left"), left.clone()).await.unwrap_err().ours();
    assert_eq!((error.kind(), left.attempts()), (&ErrorKind::EndedByClosure, 1));
    assert_eq!((error.outcome(), shop.balance_of(1).await), (Outcome::Unknown, 101));

    // A statement that failed half-way may have left the transaction, and nothing is there to ask for.
    let half = Script::new([credit(), Step::Swallow("COMMIT; SELECT 1/0".into()), credit()]);
    let answer = db.run(Call::new("half"), half.clone()).await;
    let error = answer.unwrap_err().ours();
    assert_eq!((error.outcome(), half.attempts()), (Outcome::Unknown, 1), "{error}");

    if driver.library() == Library::Sqlx {
        let before = shop.balance_of(1).await;
        let lent = Script::new([credit(), Step::Lent("SELECT 1".into())]);
        let error = db.run(Call::new("lent"), lent.clone()).await.unwrap_err().ours();
        assert_eq!((error.kind(), lent.attempts()), (&ErrorKind::Unidentified, 1), "{error}");
        assert_eq!((error.outcome(), shop.balance_of(1).await), (Outcome::Unknown, before));
    }
    assert_eq!(shop.busy().await, 0);
}
