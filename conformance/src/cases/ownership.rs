//! Whose transaction it is: nobody else's is begun in, committed or ended.

use super::Case;
use crate::{
    drivers::{Call, Driver},
    script::{Script, Step},
    shop::Shop,
};
use std::time::Duration;
use txsafe::{Cause, ErrorKind, Outcome, TxOptions};

pub(super) const CASES: &[Case] = cases![
    only_an_idle_connection_may_begin,
    a_connection_that_is_held_and_idle_is_used,
    what_the_attempt_sets_does_not_reach_commit,
    a_session_without_its_prepared_statements_is_replaced_once,
];

/// A thread waits for as long as COMMIT works: the traps show it.
pub(super) const ASYNC_CASES: &[Case] = async_cases![commit_is_waited_for_within_the_deadline];

/// The caller's transaction is as it was, however it was begun.
async fn only_an_idle_connection_may_begin(driver: Driver) {
    for (before, rows) in [("BEGIN", 0), ("BEGIN; INSERT INTO ledger VALUES (1)", 1)] {
        for (after, kept) in [("COMMIT", rows), ("ROLLBACK", 0)] {
            let shop = Shop::open("held_open").await.unwrap();
            let db = shop.database(driver);
            let script = Script::new([Step::sql("INSERT INTO ledger VALUES (2)")]);
            let call = Call::new("inner");
            let error = db.run_on(before, call, script.clone(), after).await.unwrap_err().ours();
            assert_eq!(*error.kind(), ErrorKind::OpenTransaction, "{error}");
            assert_eq!((error.outcome(), script.attempts()), (Outcome::RolledBack, 0));
            assert!(error.to_string().contains("commit it first"), "{error}");
            let left = shop.ask("SELECT count(*) FROM ledger").await;
            assert_eq!((left, shop.busy().await), (kept, 0), "{before}, {after}");
        }
    }
}

async fn a_connection_that_is_held_and_idle_is_used(driver: Driver) {
    let shop = Shop::open("held_idle").await.unwrap();
    let db = shop.database(driver);
    let script = Script::first(
        [Step::Credit(1, 1), Step::raise("40001")],
        [Step::sql("INSERT INTO ledger VALUES (1)")],
    );
    let before = "SELECT 1; BEGIN; SELECT 2; ROLLBACK";
    let after = "INSERT INTO ledger VALUES (2)";
    db.run_on(before, Call::new("held"), script.clone(), after).await.unwrap();
    let rows = shop.ask("SELECT count(*) FROM ledger").await;
    assert_eq!((script.attempts(), rows, shop.backends().await.len()), (2, 2, 1));
}

async fn what_the_attempt_sets_does_not_reach_commit(driver: Driver) {
    let shop = Shop::open("at_commit").await.unwrap();
    let sql = "
        CREATE TABLE seen (lock_timeout text, check_interval text);
        CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen SELECT current_setting('lock_timeout'),
                current_setting('client_connection_check_interval');
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER look AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION look()";
    shop.watcher.batch_execute(sql).await.unwrap();
    let db = shop.database(driver);
    let entry = Script::new([Step::sql("INSERT INTO ledger VALUES (1)")]);
    db.run(Call::new("look"), entry).await.unwrap();
    let row = shop.watcher.query_one("SELECT * FROM seen", &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), ("2s", "0"));
}

async fn commit_is_waited_for_within_the_deadline(driver: Driver) {
    let shop = Shop::open("commit_deadline").await.unwrap();
    let sql = "
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock_shared(hashtext(current_schema)); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION wait();
        SELECT pg_advisory_lock(hashtext(current_schema))";
    shop.watcher.batch_execute(sql).await.unwrap();
    let db = shop.database(driver);
    // On a busy machine a connection may take as long as the deadline.
    db.run(Call::new("connects"), Script::new([])).await.unwrap();
    let options =
        TxOptions::new().lock_timeout(Duration::from_secs(20)).timeout(Duration::from_secs(1));
    let entry = Script::new([
        Step::sql("INSERT INTO ledger VALUES (1)"),
        Step::AfterCommit("committed"),
        Step::AfterRollback("rolled back"),
    ]);
    let call = Call::new("deadline").with(options);
    let error = db.run(call, entry.clone()).await.unwrap_err().ours();
    assert!(error.is_commit_unknown(), "{error}");
    assert!(entry.notes().is_empty(), "no hook for what isn't known");
    assert_eq!(shop.ask("SELECT count(*) FROM ledger").await, 0);
    // Nothing has cancelled it.
    shop.watcher
        .batch_execute("SELECT pg_advisory_unlock(hashtext(current_schema))")
        .await
        .unwrap();
    while shop.ask("SELECT count(*) FROM ledger").await == 0 {}
}

async fn a_session_without_its_prepared_statements_is_replaced_once(driver: Driver) {
    let shop = Shop::open("stale_session").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    let script = Script::new([Step::raise("26000")]);
    db.run(Call::new("stale"), script.clone()).await.unwrap_err();
    let report = shop.reports.last();
    let causes: Vec<_> = report.failures.iter().map(|attempt| attempt.cause).collect();
    assert_eq!(causes, [Cause::StaleSession; 2], "{report}");
    assert_eq!(script.attempts(), 2);
}
