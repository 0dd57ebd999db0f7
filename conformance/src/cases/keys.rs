//! Idempotency keys: at most once per key, and one key for one request.

use super::Case;
use crate::{
    drivers::{Call, Database, Driver},
    error::AppError,
    script::{Script, Step},
    shop::Shop,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Barrier, task::JoinHandle};
use txsafe::{
    ErrorKind, GiveUp, IDEMPOTENCY_KEYS_SQL, Keyed, Outcome, RetryPolicy, SqlState, TxOptions,
};

pub(super) const CASES: &[Case] = cases![
    a_key_makes_it_once,
    another_request_with_the_same_key_is_told,
    a_table_without_fingerprints_gets_them,
    a_key_in_progress_is_waited_for,
    a_key_in_progress_is_told_from_other_locks,
];

async fn a_key_makes_it_once(driver: Driver) {
    let shop = Shop::open("keyed").await.unwrap();
    let db = shop.database(driver);
    let script = Script::new([Step::Credit(1, 5)]);
    let call = || Call::new("keyed").key("o'clock \\ 1");
    assert!(matches!(db.run(call(), script.clone()).await.unwrap(), Keyed::Ran(())));
    assert!(matches!(db.run(call(), script.clone()).await.unwrap(), Keyed::AlreadyCommitted));
    assert_eq!((script.attempts(), shop.balance_of(1).await), (1, 105));

    shop.watcher.batch_execute("DROP TABLE txsafe_idempotency_keys").await.unwrap();
    let error = db.run(call(), script.clone()).await.unwrap_err().ours();
    assert!(error.to_string().contains("IDEMPOTENCY_KEYS_SQL"), "{error}");
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (105, 0));
}

async fn another_request_with_the_same_key_is_told(driver: Driver) {
    let shop = Shop::open("fingerprint").await.unwrap();
    let db = shop.database(driver);
    let pay = |key: &str, amount: i64, fingerprint: Option<&'static str>| {
        let call = Call { fingerprint, ..Call::new("pay").key(key) };
        db.run(call, Script::new([Step::Credit(1, amount)]))
    };
    assert_eq!(pay("k", 5, Some("5")).await.unwrap(), Keyed::Ran(()));
    let error = pay("k", 7, Some("7")).await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::IdempotencyKeyReused { key: "k".into() }, "{error}");
    assert!(error.is_idempotency_key_reused() && error.outcome() == Outcome::RolledBack);
    assert!(error.to_string().contains("\"k\" was used for another request"), "{error}");
    assert_eq!(shop.reports.last().outcome, Outcome::RolledBack);
    assert_eq!(pay("k", 5, Some("5")).await.unwrap(), Keyed::AlreadyCommitted);
    // Where one of two has no fingerprint, nothing is compared.
    assert_eq!(pay("k", 7, None).await.unwrap(), Keyed::AlreadyCommitted);
    assert_eq!(pay("without", 1, None).await.unwrap(), Keyed::Ran(()));
    assert_eq!(pay("without", 1, Some("1")).await.unwrap(), Keyed::AlreadyCommitted);
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (106, 0));
    // Whoever looks into the table finds what the server makes of the request.
    let same = "SELECT count(*) FROM txsafe_idempotency_keys WHERE fingerprint = sha256('5')";
    assert_eq!(shop.ask(same).await, 1);
}

async fn a_table_without_fingerprints_gets_them(driver: Driver) {
    let shop = Shop::open("older_keys").await.unwrap();
    let older = "ALTER TABLE txsafe_idempotency_keys DROP COLUMN fingerprint";
    shop.watcher.batch_execute(older).await.unwrap();
    let db = shop.database(driver);
    let call = |key: &str| Call::new("pay").key(key);
    let script = Script::new([Step::Credit(1, 5)]);
    assert_eq!(db.run(call("old"), script.clone()).await.unwrap(), Keyed::Ran(()));
    let error = db.run(call("new").fingerprint("5"), script.clone()).await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains("run `IDEMPOTENCY_KEYS_SQL` again"), "{error}");

    shop.watcher.batch_execute(IDEMPOTENCY_KEYS_SQL).await.unwrap();
    for (key, ended) in [("new", Keyed::Ran(())), ("old", Keyed::AlreadyCommitted)] {
        let ran = db.run(call(key).fingerprint("5"), script.clone()).await;
        assert_eq!(ran.unwrap(), ended, "{key}");
    }
    let other = db.run(call("new").fingerprint("7"), script).await.unwrap_err().ours();
    assert!(other.is_idempotency_key_reused(), "{other}");
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (110, 0));
}

/// Waits until nothing but `call` is between a transaction and its lock.
fn patient() -> TxOptions {
    TxOptions::new().lock_timeout(Duration::from_secs(20)).adaptive_lock_timeout(false)
}

/// A call with the key `k` that has credited account 1, and goes on when the gate is passed.
struct InProgress {
    gate: Arc<Barrier>,
    ended: JoinHandle<Result<Keyed<()>, AppError>>,
}

impl InProgress {
    async fn start(db: &Arc<dyn Database>, last: Step) -> Self {
        let gate = Arc::new(Barrier::new(2));
        let passes = Arc::clone(&gate);
        let pass = Step::awaiting(move || {
            let passes = Arc::clone(&passes);
            async move {
                passes.wait().await;
                passes.wait().await;
                Ok(())
            }
        });
        let script = Script::new([Step::Credit(1, 5), pass, last]);
        let db = Arc::clone(db);
        let call = Call::new("pay").key("k").with(patient());
        let ended = tokio::spawn(async move { db.run(call, script).await });
        gate.wait().await;
        Self { gate, ended }
    }

    async fn end(self) -> Result<Keyed<()>, AppError> {
        self.gate.wait().await;
        self.ended.await.unwrap()
    }
}

async fn a_key_in_progress_is_waited_for(driver: Driver) {
    let fails = Step::Fail("no");
    let commits = Step::sql("SELECT 1");
    for (last, then, balance) in
        [(commits, Keyed::AlreadyCommitted, 105), (fails, Keyed::Ran(()), 107)]
    {
        let shop = Shop::open("awaited_key").await.unwrap();
        let db = shop.database(driver);
        let first = InProgress::start(&db, last).await;
        let script = Script::new([Step::Credit(1, 7)]);
        let second = {
            let (db, script) = (Arc::clone(&db), script.clone());
            let call = Call::new("pay").key("k").with(patient());
            tokio::spawn(async move { db.run(call, script).await })
        };
        // Other keys, and the same of another transaction, don't wait.
        for call in [Call::new("pay").key("other"), Call::new("refund").key("k")] {
            assert_eq!(db.run(call, Script::new([])).await.unwrap(), Keyed::Ran(()));
        }
        let waits = format!(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
             WHERE application_name LIKE '{}%' AND locktype = 'advisory' AND NOT granted",
            shop.name()
        );
        while shop.ask(&waits).await == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(first.end().await.is_ok(), balance == 105);
        assert_eq!(second.await.unwrap().unwrap(), then);
        let runs = usize::from(then == Keyed::Ran(()));
        assert_eq!((script.attempts(), shop.balance_of(1).await), (runs, balance));
        assert_eq!(shop.busy().await, 0);
    }
}

async fn a_key_in_progress_is_told_from_other_locks(driver: Driver) {
    let shop = Shop::open("key_in_progress").await.unwrap();
    let db = shop.database(driver);
    let first = InProgress::start(&db, Step::sql("SELECT 1")).await;
    let script = Script::new([Step::Credit(2, 7)]);
    let nowait = Call::new("pay").key("k").nowait().with(patient());
    let error = db.run(nowait, script.clone()).await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::IdempotencyKeyInProgress { key: "k".into() }, "{error}");
    assert_eq!((error.outcome(), error.gave_up()), (Outcome::RolledBack, None));
    assert!(error.is_transient() && error.report().unwrap().failures.is_empty(), "{error:?}");

    let short = TxOptions::new()
        .lock_timeout(Duration::from_millis(20))
        .adaptive_lock_timeout(false)
        .retry(RetryPolicy::new().max_attempts(2));
    let call = |key: &str| Call::new("pay").key(key).with(short.clone());
    let error = db.run(call("k"), script.clone()).await.unwrap_err().ours();
    assert!(error.is_idempotency_key_in_progress(), "{error:?}");
    assert_eq!(error.gave_up(), Some(GiveUp::Attempts(2)));
    assert!(error.to_string().contains("another call with idempotency key \"k\""), "{error}");
    assert_eq!(script.attempts(), 0);

    // A row that isn't free is the closure's affair, and a table that isn't free is no key in progress.
    let row = Script::new([Step::Credit(1, 7)]);
    let error = db.run(call("other"), row.clone()).await.unwrap_err();
    assert!(matches!(error, AppError::Opaque) && row.attempts() == 2, "{error:?}");
    assert_eq!(first.end().await.unwrap(), Keyed::Ran(()));
    let locked = "BEGIN; LOCK TABLE txsafe_idempotency_keys";
    shop.watcher.batch_execute(locked).await.unwrap();
    let error = db.run(call("third"), script.clone()).await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::GaveUp(GiveUp::Attempts(2)), "{error:?}");
    let code = error.sqlstate();
    assert!(code.is_none_or(|code| code == SqlState::LOCK_NOT_AVAILABLE), "{error:?}");
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();

    let nowait = Call::new("pay").key("k").nowait();
    assert_eq!(db.run(nowait, script.clone()).await.unwrap(), Keyed::AlreadyCommitted);
    assert_eq!((script.attempts(), shop.balance_of(1).await, shop.busy().await), (0, 105, 0));
}
