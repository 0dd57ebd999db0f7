//! How a transaction ends, and what follows.

use super::bank::{Bank, MS};
use sqlx::{AssertSqlSafe, Executor};
use std::sync::Arc;
use tokio::sync::Barrier;
use txsafe::{ErrorKind, Keyed, Outcome, TxOptions};
use txsafe_conformance::{
    drivers::{Call, Setup, open_sqlite},
    error::AppError,
    script::{Script, Step},
};
use txsafe_sqlx::{DriverError, error_behind};

#[tokio::test]
async fn ok_commits_and_an_error_of_ones_own_rolls_back() {
    let bank = Bank::open("commits").await;
    bank.run("pay", &Script::new([Step::Credit(1, -30), Step::Credit(2, 30)])).await.unwrap();
    let fails = Script::new([Step::Credit(1, 5), Step::Fail("no")]);
    let error = bank.run("pay", &fails).await.unwrap_err();
    assert!(matches!(error, AppError::Own("no")));
    assert_eq!(
        (bank.balance_of(1).await, bank.balance_of(2).await, fails.attempts()),
        (70, 130, 1)
    );
    bank.assert_free().await;
}

#[tokio::test]
async fn a_deferred_constraint_at_commit_is_certain() {
    let bank = Bank::open("deferred").await;
    let script = Script::new([Step::Credit(1, 5), Step::sql("INSERT INTO orders VALUES (4711)")]);
    let error = bank.run("order", &script).await.unwrap_err().ours();
    assert_eq!((error.kind(), error.outcome()), (&ErrorKind::Failed, Outcome::RolledBack));
    assert!(error.to_string().contains("FOREIGN KEY constraint failed (code 787)"), "{error}");
    assert_eq!((bank.balance_of(1).await, script.attempts()), (100, 1));
    bank.assert_free().await;
}

#[tokio::test]
async fn the_drivers_own_error_says_what_commit_found() {
    async fn order(db: &txsafe_sqlx::sqlite::Database) -> sqlx::Result<()> {
        Ok(db
            .transaction("order", async |mut tx| {
                sqlx::query("INSERT INTO orders VALUES (4711)").execute(&mut tx).await?;
                Ok::<_, DriverError>(())
            })
            .await?)
    }
    let bank = Bank::open("driver_error").await;
    let db =
        txsafe_sqlx::sqlite::Database::builder(sqlx::SqlitePool::connect_lazy(&bank.url).unwrap())
            .build()
            .unwrap();
    let error = order(&db).await.unwrap_err();
    let refusal = error.as_database_error().unwrap();
    assert!(refusal.is_foreign_key_violation(), "{refusal:?}");
    assert_eq!(
        (refusal.code().unwrap(), refusal.message()),
        ("787".into(), "FOREIGN KEY constraint failed")
    );
    assert_eq!(error_behind(&error).unwrap().outcome(), Outcome::RolledBack);
    bank.assert_free().await;
}

#[tokio::test]
async fn hooks_run_once_it_is_over() {
    let bank = Bank::open("hooks").await;
    let hooks = || [Step::AfterCommit("committed"), Step::AfterRollback("rolled back")];
    let script = Script::new(hooks());
    bank.run("hooks", &script).await.unwrap();
    assert_eq!(script.notes(), ["committed"]);
    let [committed, rolled_back] = hooks();
    let script = Script::new([committed, rolled_back, Step::Fail("no")]);
    bank.run("hooks", &script).await.unwrap_err();
    assert_eq!(script.notes(), ["rolled back"]);
}

#[tokio::test]
async fn a_panic_and_a_cancellation_leave_nothing_behind() {
    let bank = Bank::open("panic").await;
    let db = Arc::clone(&bank.db);
    let panics = Script::new([Step::Credit(1, 5), Step::Panic]);
    let task = tokio::spawn(async move { db.run(Call::new("panics"), panics).await.map(drop) });
    assert!(task.await.unwrap_err().is_panic());
    let reached = Arc::new(Barrier::new(2));
    let wait = {
        let reached = Arc::clone(&reached);
        Step::awaiting(move || {
            let reached = Arc::clone(&reached);
            async move {
                reached.wait().await;
                std::future::pending().await
            }
        })
    };
    let script = Script::new([Step::Credit(1, 5), wait]);
    tokio::select! {
        _ = bank.run("dropped", &script) => panic!("it waits for ever"),
        _ = reached.wait() => {}
    }
    // A connection is closed on the thread that it lives on.
    let patient = TxOptions::new().lock_timeout(10_000 * MS);
    let after = Call::new("after").with(patient);
    bank.db.run(after, Script::new([Step::Credit(2, 5)])).await.unwrap();
    assert_eq!((bank.balance_of(1).await, bank.balance_of(2).await), (100, 105));
}

#[tokio::test]
async fn a_key_makes_it_once() {
    let bank = Bank::open("key").await;
    let script = Script::new([Step::Credit(1, 5)]);
    for expected in [Keyed::Ran(()), Keyed::AlreadyCommitted] {
        let ended = bank.db.run(Call::new("pay").key("o'clock \\ 7"), script.clone()).await;
        assert_eq!(ended.unwrap(), expected);
    }
    assert_eq!((bank.balance_of(1).await, script.attempts()), (105, 1));
}

#[tokio::test]
async fn another_request_with_the_same_key_is_told() {
    let bank = Bank::open("fingerprint").await;
    let script = Script::new([Step::Credit(1, 5)]);
    let run = |key: &str, request| {
        let call = Call { fingerprint: request, ..Call::new("pay").key(key) };
        bank.db.run(call, script.clone())
    };
    assert_eq!(run("k", Some("5")).await.unwrap(), Keyed::Ran(()));
    assert_eq!(run("k", Some("5")).await.unwrap(), Keyed::AlreadyCommitted);
    assert_eq!(run("k", None).await.unwrap(), Keyed::AlreadyCommitted);
    let error = run("k", Some("7")).await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::IdempotencyKeyReused { key: "k".into() }, "{error}");
    assert_eq!((script.attempts(), bank.balance_of(1).await), (1, 105));
    bank.assert_free().await;

    let nowait = bank.db.run(Call::new("pay").key("k").nowait(), script.clone()).await;
    let error = nowait.unwrap_err().ours();
    assert!(matches!(error.kind(), ErrorKind::InvalidSetting(_)), "{error}");
    assert!(error.to_string().contains("one writer at a time"), "{error}");

    // A table of an earlier version.
    let mut watcher = bank.connect().await;
    let alter = |change| AssertSqlSafe(format!("ALTER TABLE txsafe_idempotency_keys {change}"));
    watcher.execute(alter("DROP COLUMN fingerprint")).await.unwrap();
    let error = run("new", Some("5")).await.unwrap_err().ours();
    assert!(error.to_string().contains("ADD COLUMN fingerprint TEXT"), "{error}");
    watcher.execute(alter("ADD COLUMN fingerprint TEXT")).await.unwrap();
    assert_eq!(run("k", Some("7")).await.unwrap(), Keyed::AlreadyCommitted);
    assert_eq!(run("new", Some("5")).await.unwrap(), Keyed::Ran(()));
}

#[tokio::test]
async fn a_trigger_is_made_in_a_transaction() {
    let bank = Bank::open("trigger").await;
    let trigger = "CREATE TRIGGER paid AFTER UPDATE ON accounts WHEN new.id = 1
                   BEGIN UPDATE accounts SET balance = balance + 1 WHERE id = 3; END";
    bank.run("migrate", &Script::new([Step::sql(trigger), Step::Credit(1, 5)])).await.unwrap();
    assert_eq!((bank.balance_of(1).await, bank.balance_of(3).await), (105, 101));
}

#[tokio::test]
async fn a_transaction_inside_another_one_is_refused() {
    let bank = Bank::open("nested").await;
    let other = open_sqlite(&bank.url, 2, Setup::default()).await.unwrap();
    for inner in [Arc::clone(&bank.db), other] {
        let nested = Step::awaiting(move || {
            let inner = Arc::clone(&inner);
            async move { inner.run(Call::new("inner"), Script::new([])).await.map(drop) }
        });
        let error = bank.run("outer", &Script::new([nested])).await.unwrap_err().ours();
        assert!(error.is_nested_transaction(), "whichever pool leads to the file: {error}");
    }
}
