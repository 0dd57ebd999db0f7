//! Rerun mode: closures are run a second time in tests, and what differs is found.

use super::Case;
use crate::{
    drivers::{Call, Database, Driver, Library},
    error::AppError,
    findings::only_reruns,
    script::{Script, Step},
    shop::Shop,
};
use futures_util::FutureExt;
use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};
use txsafe::{Keyed, RetryPolicy, TxOptions, guard::Policy};

pub(super) const CASES: &[Case] = cases![
    closures_run_twice_and_commit_once,
    a_key_is_claimed_by_both_runs,
    a_second_run_that_differs_fails_a_test,
    a_second_run_that_differs_is_told_in_development,
    an_error_of_the_second_run_is_told,
    a_statement_that_fails_in_the_second_run_is_told,
    bind_values_are_not_compared,
    what_is_never_tried_again_is_not_run_again,
    what_was_tried_again_is_not_run_again,
];

/// A database whose findings warn, and what they say.
fn warned(shop: &Shop, driver: Driver) -> (Arc<dyn Database>, Arc<Mutex<Vec<String>>>) {
    let findings = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&findings);
    let policy = only_reruns(Policy::dev())
        .on_finding(move |finding| told.lock().unwrap().push(finding.what.clone()));
    (shop.guarded(driver, policy), findings)
}

fn insert(operation: i64) -> Step {
    Step::sql(format!("INSERT INTO ledger VALUES ({operation})"))
}

async fn ledger(shop: &Shop) -> (i64, i64) {
    let count = shop.ask("SELECT count(*) FROM ledger").await;
    (count, shop.ask("SELECT coalesce(max(operation), 0) FROM ledger").await)
}

async fn closures_run_twice_and_commit_once(driver: Driver) {
    let shop = Shop::open("rerun").await.unwrap();
    let db = shop.guarded(driver, only_reruns(Policy::test()));
    let script = Script::new([
        Step::Credit(1, 5),
        Step::Savepoint(vec![insert(1), Step::Credit(2, -1_000)]),
        insert(2),
        Step::AfterCommit("committed"),
        Step::AfterRollback("rolled back"),
    ]);
    db.run(Call::new("credit"), script.clone()).await.unwrap();
    assert_eq!(script.attempts(), 2);
    assert_eq!(script.notes(), ["rolled back", "committed"]);
    assert_eq!((shop.balance_of(1).await, ledger(&shop).await), (105, (1, 2)));
    assert!(shop.reports.take().is_none(), "nothing failed");
    assert_eq!(shop.busy().await, 0);
}

async fn a_key_is_claimed_by_both_runs(driver: Driver) {
    let shop = Shop::open("rerun_key").await.unwrap();
    let db = shop.guarded(driver, only_reruns(Policy::test()));
    let script = Script::new([Step::Credit(1, 5)]);
    let call = || Call::new("credit").key("request 1");
    assert_eq!(db.run(call(), script.clone()).await.unwrap(), Keyed::Ran(()));
    assert_eq!(script.attempts(), 2);
    assert_eq!(db.run(call(), script.clone()).await.unwrap(), Keyed::AlreadyCommitted);
    assert_eq!((script.attempts(), shop.balance_of(1).await), (2, 105));
    assert_eq!(shop.ask("SELECT count(*) FROM txsafe_idempotency_keys").await, 1);
}

async fn a_second_run_that_differs_fails_a_test(driver: Driver) {
    let shop = Shop::open("rerun_fails").await.unwrap();
    let db = shop.guarded(driver, only_reruns(Policy::test()).on_finding(|_| {}));
    for second in [vec![insert(2)], vec![insert(1), Step::Fail("gone")], vec![]] {
        let script = Script::first([insert(1)], second);
        let run = AssertUnwindSafe(db.run(Call::new("take"), script.clone())).catch_unwind().await;
        let panic = run.expect_err("a finding fails it");
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.starts_with("TXS012 rerun differs: "), "{text}");
        assert!(text.contains("in transaction \"take\" ("), "{text}");
        assert_eq!(script.attempts(), 2);
    }
    assert_eq!((shop.busy().await, ledger(&shop).await), (0, (0, 0)));
}

async fn a_second_run_that_differs_is_told_in_development(driver: Driver) {
    let shop = Shop::open("rerun_told").await.unwrap();
    let (db, told) = warned(&shop, driver);
    let script = Script::first([Step::Credit(1, 5), insert(1)], [Step::Credit(1, 5), insert(2)]);
    db.run(Call::new("differs"), script).await.unwrap();
    assert_eq!(
        *told.lock().unwrap(),
        [
            "its closure was run again, and statement 2 was `INSERT INTO ledger VALUES (1)` in the first run and \
          `INSERT INTO ledger VALUES (2)` in the second"
        ],
    );
    assert_eq!((shop.balance_of(1).await, ledger(&shop).await), (105, (1, 2)), "it is committed");
}

async fn an_error_of_the_second_run_is_told(driver: Driver) {
    let shop = Shop::open("rerun_error").await.unwrap();
    let (db, told) = warned(&shop, driver);
    let script = Script::first([insert(1)], [insert(1), Step::Fail("taken before")]);
    let error = db.run(Call::new("take"), script).await.unwrap_err();
    assert!(matches!(error, AppError::Own("taken before")), "{error:?}");
    assert_eq!(
        *told.lock().unwrap(),
        ["the first run of its closure returned Ok, and the second returned an error"],
    );
    assert_eq!((shop.busy().await, ledger(&shop).await), (0, (0, 0)));
}

async fn a_statement_that_fails_in_the_second_run_is_told(driver: Driver) {
    let shop = Shop::open("rerun_failure").await.unwrap();
    let (db, told) = warned(&shop, driver);
    let script = Script::first([Step::Credit(1, 5)], [Step::Credit(1, -1_000)]);
    let error = db.run(Call::new("overdraw"), script).await.unwrap_err();
    assert!(matches!(error, AppError::Opaque), "{error:?}");
    let told = std::mem::take(&mut *told.lock().unwrap());
    let start = "the first run of its closure returned Ok, and the second failed: ";
    assert!(told.len() == 1 && told[0].starts_with(start), "{told:?}");
    assert!(told[0].contains("accounts_balance_check"), "{told:?}");
    assert_eq!(shop.balance_of(1).await, 100);
}

async fn bind_values_are_not_compared(driver: Driver) {
    let shop = Shop::open("rerun_binds").await.unwrap();
    let db = shop.guarded(driver, only_reruns(Policy::test()));
    // SQLx doesn't show them.
    let shown = if driver.library() == Library::Sqlx { &[false][..] } else { &[false, true] };
    for show in shown {
        let script = Script::first([Step::Credit(1, 5)], [Step::Credit(2, 7)]);
        let call = Call::new("binds").with(TxOptions::new().bind_values(*show));
        db.run(call, script.clone()).await.unwrap();
        assert_eq!(script.attempts(), 2);
    }
    assert_eq!(shop.balance_of(1).await, 100);
}

async fn what_is_never_tried_again_is_not_run_again(driver: Driver) {
    let shop = Shop::open("rerun_not").await.unwrap();
    let db = shop.guarded(driver, only_reruns(Policy::test()));
    let once = || TxOptions::new().retry(RetryPolicy::new().max_attempts(1));
    let near = || TxOptions::new().timeout(Duration::from_millis(90));
    let credit = || Script::new([Step::Credit(1, 1)]);
    for call in [
        Call::new("once").once(),
        Call::new("one attempt").with(once()),
        Call::new("dry run").with(TxOptions::new().dry_run(true)),
    ] {
        let script = credit();
        db.run(call, script.clone()).await.unwrap();
        assert_eq!(script.attempts(), 1);
    }
    let script = credit();
    // On a busy machine the deadline may pass; no closure runs twice before it.
    drop(db.run(Call::new("near its deadline").with(near()), script.clone()).await);
    assert!(script.attempts() <= 1);
    let script = Script::new([Step::Credit(1, 1), Step::RollbackOnly]);
    db.run(Call::new("rollback only"), script.clone()).await.unwrap();
    assert_eq!(script.attempts(), 1);
    let script = credit();
    db.run_on("SELECT 1", Call::new("held"), script.clone(), "SELECT 1").await.unwrap();
    assert_eq!(script.attempts(), 1);
    let script = Script::new([Step::Fail("own")]);
    db.run(Call::new("fails"), script.clone()).await.unwrap_err();
    assert_eq!(script.attempts(), 1);
    let calm = Script::new([Step::Credit(2, 1)]);
    db.run(Call::new("calm"), calm.clone()).await.unwrap();
    assert_eq!((calm.attempts(), shop.balance_of(2).await), (2, 101));
}

async fn what_was_tried_again_is_not_run_again(driver: Driver) {
    let shop = Shop::open("rerun_retried").await.unwrap();
    let db = shop.guarded(driver, only_reruns(Policy::test()));
    let script = Script::first([Step::raise("40001")], [Step::Credit(1, 1)]);
    db.run(Call::new("retried"), script.clone()).await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (2, 101));
    assert_eq!(shop.reports.last().attempts, 2);

    // A second run that fails and is tried again is compared when it has come through.
    let credit = || vec![Step::Credit(1, 1)];
    let collides = vec![Step::Credit(1, 1), Step::raise("40001")];
    let script = Script::by_attempt([credit(), collides, credit()]);
    db.run(Call::new("collides"), script.clone()).await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (3, 102));
    let report = shop.reports.last();
    assert_eq!((report.attempts, report.failures.len(), report.rerun), (2, 1, true), "{report}");
}
