//! What is committed, what isn't, and what the caller gets to hear.

use super::{Case, local::check};
use crate::{
    drivers::{Call, Driver, Library},
    error::AppError,
    script::{Script, Step, raise},
    shop::Shop,
};
use txsafe::{Cause, ErrorKind, GiveUp, Keyed, Outcome, Phase, TxOptions};

pub(super) const CASES: &[Case] = cases![
    ok_commits,
    an_error_of_ones_own_rolls_back_and_comes_back,
    a_swallowed_error_never_becomes_ok,
    a_swallowed_deadlock_is_tried_again,
    a_closure_that_ends_its_transaction_is_told,
    a_deferred_constraint_at_commit_is_certain,
    a_failure_of_commit_itself_is_tried_again,
    a_savepoint_undoes_its_part,
    a_savepoint_behind_a_failure_ends_nothing,
    hooks_run_in_order_once_it_is_over,
    a_panic_leaves_nothing_behind,
    once_is_once,
    what_is_rollback_only_is_rolled_back_and_its_value_returned,
    a_dry_run_has_no_effect,
    a_dry_run_fails_where_the_real_one_would,
    what_is_asked_before_each_commit_is_prepared_once,
];

async fn ok_commits(driver: Driver) {
    let shop = Shop::open("commits").await.unwrap();
    let script = Script::new([Step::Credit(1, 5), Step::sql("INSERT INTO ledger VALUES (1)")]);
    shop.database(driver).run(Call::new("transfer"), script.clone()).await.unwrap();
    assert_eq!((shop.balance_of(1).await, script.attempts()), (105, 1));
    assert_eq!((shop.ask("SELECT count(*) FROM ledger").await, shop.busy().await), (1, 0));
}

/// SQLx asks by simple queries. What is asked about once on a connection, as for the session's limits, isn't prepared by any.
async fn what_is_asked_before_each_commit_is_prepared_once(driver: Driver) {
    let shop = Shop::open("witness").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    let prepared = |start: &str, end: &str, times: u32| {
        check(&format!(
            "{times} = (SELECT count(*) FROM pg_prepared_statements
                        WHERE statement LIKE '%{start}' || '{end}%')"
        ))
    };
    let witness = u32::from(driver.library() != Library::Sqlx);
    let verified = || Call::new("verified").with(TxOptions::new().verify_commit(true));
    db.run(verified(), Script::new([Step::Credit(1, 1)])).await.unwrap();
    let steps = [
        prepared("pg_current_xact_id", "_if_assigned", witness),
        prepared("idle_in_transaction", "_session_timeout", 0),
    ];
    db.run(verified(), Script::new(steps)).await.unwrap();
}

async fn an_error_of_ones_own_rolls_back_and_comes_back(driver: Driver) {
    let shop = Shop::open("own_error").await.unwrap();
    let db = shop.database(driver);
    let script = Script::new([Step::Credit(1, 5), Step::Fail("too poor")]);
    let error = db.run(Call::new("own"), script.clone()).await.unwrap_err();
    assert!(matches!(error, AppError::Own("too poor")), "{error:?}");

    // One of the database's that asks for nothing comes back as whatever the closure made of it.
    let script = Script::new([Step::Credit(1, 5), Step::Credit(1, -1_000)]);
    let error = db.run(Call::new("check"), script.clone()).await.unwrap_err();
    assert!(matches!(error, AppError::Opaque), "{error:?}");
    assert_eq!((shop.balance_of(1).await, script.attempts(), shop.busy().await), (100, 1, 0));
}

async fn a_swallowed_error_never_becomes_ok(driver: Driver) {
    let shop = Shop::open("swallowed").await.unwrap();
    let db = shop.database(driver);
    for sql in ["SELECT 1/0", "INSERT INTO nowhere VALUES (1)"] {
        let script = Script::new([Step::Credit(1, 5), Step::Swallow(sql.into())]);
        let error = db.run(Call::new("swallowed"), script.clone()).await.unwrap_err().ours();
        assert!(error.is_rolled_back_at_commit(), "{error:?}");
        assert_eq!(error.outcome(), Outcome::RolledBack);
        assert!(error.to_string().contains(sql), "{error}");
    }
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (100, 0));
}

async fn a_swallowed_deadlock_is_tried_again(driver: Driver) {
    let shop = Shop::open("swallowed_deadlock").await.unwrap();
    let script = Script::first([Step::Swallow(raise("40P01"))], [Step::Credit(1, 5)]);
    shop.database(driver).run(Call::new("swallowed"), script.clone()).await.unwrap();
    assert_eq!((shop.balance_of(1).await, script.attempts()), (105, 2));
}

async fn a_closure_that_ends_its_transaction_is_told(driver: Driver) {
    let shop = Shop::open("ended").await.unwrap();
    let db = shop.database(driver);
    for end in ["COMMIT", "ROLLBACK", "ROLLBACK; SELECT 1"] {
        let script = Script::new([Step::Credit(1, 5), Step::sql(end)]);
        let error = db.run(Call::new("ends itself"), script).await.unwrap_err().ours();
        assert!(matches!(error.kind(), ErrorKind::EndedByClosure), "{error:?}");
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
    assert_eq!(shop.balance_of(1).await, 105, "the closure's own COMMIT");
    assert_eq!(shop.busy().await, 0);
}

const DEFERRED: &str = "
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'at commit' USING ERRCODE = TG_ARGV[0]; END $$;
    CREATE CONSTRAINT TRIGGER integrity AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.operation = 1) EXECUTE FUNCTION fail('23503');
    CREATE CONSTRAINT TRIGGER serialization AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.operation = 2) EXECUTE FUNCTION fail('40001');
";

async fn a_deferred_constraint_at_commit_is_certain(driver: Driver) {
    let shop = Shop::open("deferred").await.unwrap();
    shop.watcher.batch_execute(DEFERRED).await.unwrap();
    // One connection, so that it is that or a new one.
    let db = shop.database_at(driver, &shop.url, 1);
    let script = Script::new([Step::Credit(1, 5), Step::sql("INSERT INTO ledger VALUES (1)")]);
    let error = db.run(Call::new("deferred"), script.clone()).await.unwrap_err().ours();
    assert_eq!(error.outcome(), Outcome::RolledBack);
    assert_eq!(error.sqlstate().unwrap().as_str(), "23503", "{error:?}");
    assert_eq!((script.attempts(), shop.balance_of(1).await, shop.busy().await), (1, 100, 0));

    let backends = shop.backends().await;
    db.run(Call::new("afterwards"), Script::new([Step::Credit(1, 5)])).await.unwrap();
    assert_eq!(shop.balance_of(1).await, 105);
    assert_eq!(shop.backends().await, backends, "the connection lives on");
}

async fn a_failure_of_commit_itself_is_tried_again(driver: Driver) {
    let shop = Shop::open("commit_fails").await.unwrap();
    shop.watcher.batch_execute(DEFERRED).await.unwrap();
    let insert =
        |n: u8| vec![Step::Credit(1, 5), Step::sql(format!("INSERT INTO ledger VALUES ({n})"))];
    // One connection, so that it is that or a new one.
    let db = shop.database_at(driver, &shop.url, 1);
    db.run(Call::new("before"), Script::new([])).await.unwrap();
    let backends = shop.backends().await;
    let script = Script::by_attempt([insert(2), insert(3)]);
    db.run(Call::new("commit fails"), script.clone()).await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (2, 105));
    assert_eq!(shop.ask("SELECT sum(operation)::bigint FROM ledger").await, 3);
    assert_eq!(shop.backends().await, backends, "the connection lives on");
}

async fn a_savepoint_undoes_its_part(driver: Driver) {
    let shop = Shop::open("savepoint").await.unwrap();
    let db = shop.database(driver);
    let steps = [
        Step::Credit(1, 1),
        Step::Savepoint(vec![
            Step::Credit(1, 10),
            Step::AfterCommit("undone"),
            Step::sql("SELECT 1/0"),
        ]),
        Step::Savepoint(vec![Step::Credit(1, 20), Step::AfterCommit("kept")]),
        Step::Savepoint(vec![Step::Credit(1, 40), Step::Fail("changed my mind")]),
        Step::Savepoint(vec![Step::Credit(1, 80), Step::Swallow("SELECT 1/0".into())]),
        Step::Savepoint(vec![Step::Savepoint(vec![Step::Credit(1, 160)]), Step::Fail("all of it")]),
    ];
    let script = Script::new(steps);
    db.run(Call::new("savepoints"), script.clone()).await.unwrap();
    assert_eq!((shop.balance_of(1).await, script.notes()), (121, vec!["kept"]));

    // A deadlock behind a savepoint: with nothing done since, the closure's error is about it.
    let fails = vec![Step::Savepoint(vec![Step::raise("40P01")]), Step::Fail("it didn't work out")];
    let script = Script::by_attempt([fails, vec![Step::Credit(1, 1)]]);
    db.run(Call::new("savepoints"), script.clone()).await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await, shop.busy().await), (2, 122, 0));
}

async fn hooks_run_in_order_once_it_is_over(driver: Driver) {
    let shop = Shop::open("hooks").await.unwrap();
    let db = shop.database(driver);
    let script = Script::by_attempt([
        vec![
            Step::AfterCommit("never"),
            Step::AfterRollback("first attempt"),
            Step::raise("40001"),
        ],
        vec![Step::AfterCommit("one"), Step::AfterRollback("never"), Step::AfterCommit("two")],
    ]);
    db.run(Call::new("hooks"), script.clone()).await.unwrap();
    assert_eq!(script.notes(), ["first attempt", "one", "two"]);
}

async fn a_panic_leaves_nothing_behind(driver: Driver) {
    let shop = Shop::open("panic").await.unwrap();
    let db = shop.database(driver);
    let running = {
        let db = db.clone();
        let script = Script::new([Step::Credit(1, 5), Step::AfterCommit("never"), Step::Panic]);
        tokio::spawn(async move { db.run(Call::new("panics"), script).await })
    };
    assert!(running.await.unwrap_err().is_panic());
    while shop.busy().await > 0 {}
    db.run(Call::new("afterwards"), Script::new([Step::Credit(1, 1)])).await.unwrap();
    assert_eq!(shop.balance_of(1).await, 101);
}

async fn a_savepoint_behind_a_failure_ends_nothing(driver: Driver) {
    let shop = Shop::open("late_savepoint").await.unwrap();
    let db = shop.database(driver);
    let behind = Step::Swallow("UPDATE accounts SET balance = 7 WHERE id = 3".into());
    let fails = Step::Swallow("SELECT 1 / 0".into());
    let script =
        Script::new([Step::Credit(1, 5), fails, Step::Savepoint(vec![Step::Credit(2, 5)]), behind]);
    let error = db.run(Call::new("late"), script.clone()).await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::RolledBackAtCommit, "{error}");
    for id in [1, 2, 3] {
        assert_eq!(shop.balance_of(id).await, 100, "account {id}");
    }
    assert_eq!(script.attempts(), 1);
}

async fn once_is_once(driver: Driver) {
    let shop = Shop::open("once").await.unwrap();
    let db = shop.database(driver);
    let script = Script::new([Step::Credit(1, 5), Step::raise("40001")]);
    let error = db.run(Call::new("once").once(), script.clone()).await;
    assert!(matches!(error.unwrap_err(), AppError::Opaque));
    let report = shop.reports.last();
    let failed = &report.failures[0];
    assert_eq!(report.gave_up, Some(GiveUp::Once));
    assert_eq!((failed.phase, failed.cause), (Phase::Body, Cause::Serialization));
    assert_eq!((script.attempts(), shop.balance_of(1).await), (1, 100));
    let options = TxOptions::new().read_only(true);
    let error = db.run(Call::new("once").once().with(options), script).await;
    assert!(matches!(error.unwrap_err(), AppError::Opaque), "25006 of its own making");
}

/// All that a transaction does, and hooks that say how it ended.
fn work() -> Vec<Step> {
    let [committed, rolled_back] =
        [Step::AfterCommit("committed"), Step::AfterRollback("rolled back")];
    vec![Step::Credit(1, 5), committed, rolled_back]
}

async fn what_is_rollback_only_is_rolled_back_and_its_value_returned(driver: Driver) {
    let shop = Shop::open("rollback_only").await.unwrap();
    let db = shop.database(driver);
    // Marked behind a savepoint it holds for the whole, and for the attempt that was marked alone.
    let marked = [work(), vec![Step::Savepoint(vec![Step::RollbackOnly])]].concat();
    let retried = [work(), vec![Step::RollbackOnly, Step::raise("40001")]].concat();
    for (script, notes, balance) in [
        (Script::new(marked.clone()), vec!["rolled back"], 100),
        (Script::first(retried, work()), vec!["rolled back", "committed"], 105),
    ] {
        db.run(Call::new("rollback only"), script.clone()).await.unwrap();
        assert_eq!((script.notes(), shop.balance_of(1).await), (notes, balance));
    }
    // There is no value to be returned by hand.
    let once = db.run(Call::new("once").once(), Script::new(marked)).await;
    if driver.is_by_hand() {
        let error = once.unwrap_err().ours();
        assert_eq!(
            (error.kind(), error.outcome()),
            (&ErrorKind::RollbackOnly, Outcome::RolledBack)
        );
        assert!(error.to_string().starts_with("transaction \"once\""), "{error}");
    } else {
        once.unwrap();
    }
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (105, 0));
}

async fn a_dry_run_has_no_effect(driver: Driver) {
    let shop = Shop::open("dry_run").await.unwrap();
    let db = shop.database(driver);
    for (is_dry, balance) in [(true, 100), (false, 105)] {
        let script = Script::new(work());
        let options = TxOptions::new().dry_run(is_dry);
        let call = Call::new("dry run").with(options.clone()).key("request-1");
        assert_eq!(db.run(call, script.clone()).await.unwrap(), Keyed::Ran(()));
        let once = Call::new("once").with(TxOptions::new().dry_run(true)).once();
        db.run(once, Script::new(work())).await.unwrap();
        let note = if is_dry { "rolled back" } else { "committed" };
        assert_eq!((script.notes(), shop.balance_of(1).await), (vec![note], balance));
    }
    assert_eq!(shop.busy().await, 0);
}

async fn a_dry_run_fails_where_the_real_one_would(driver: Driver) {
    let shop = Shop::open("dry_failure").await.unwrap();
    let references =
        "CREATE TABLE orders (account int REFERENCES accounts DEFERRABLE INITIALLY DEFERRED)";
    shop.watcher.batch_execute(references).await.unwrap();
    let db = shop.database(driver);
    let run = |steps: Vec<Step>| {
        let script = Script::new(steps);
        let call = Call::new("dry").with(TxOptions::new().dry_run(true));
        let run = db.run(call, script.clone());
        async move { (run.await.map_err(AppError::ours), script.attempts()) }
    };
    // What a savepoint has undone is undone, and no reason to try again.
    let undone = Step::Savepoint(vec![Step::raise("40001")]);
    assert!(matches!(run(vec![Step::Credit(1, 1), undone]).await, (Ok(_), 1)));
    let swallowed = vec![Step::Credit(1, 1), Step::Swallow("SELECT 1/0".into())];
    let (result, _) = run(swallowed.clone()).await;
    assert!(result.unwrap_err().is_rolled_back_at_commit());
    let (result, _) = run(vec![Step::sql("INSERT INTO orders VALUES (4711)")]).await;
    let error = result.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Failed, "{error}");
    assert_eq!(error.failure().unwrap().constraint(), Some("orders_account_fkey"), "{error}");
    // What is to be rolled back anyway may have failed.
    let marked = [swallowed, vec![Step::RollbackOnly]].concat();
    db.run(Call::new("marked"), Script::new(marked)).await.unwrap();
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (100, 0));
}
