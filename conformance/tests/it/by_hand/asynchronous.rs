//! Drivers whose transactions are futures.

use super::{EARLY_RETURNS, open};
use crate::words::{CREDIT, Words, on_all};
use diesel_async::SimpleAsyncConnection;
use futures_util::FutureExt;
use sqlx::Executor;
use std::{ops::ControlFlow, panic::AssertUnwindSafe, time::Duration};
use tokio::runtime::Runtime;
use txsafe::{
    Error, ErrorKind, Keyed, NoOrder, Outcome, TxOptions, Unlocked,
    guard::{Code, Policy},
};
use txsafe_conformance::findings::{found, watching};

on_all![
    it_is_passed_around_and_committed_elsewhere,
    an_early_return_keeps_the_connection,
    dropped_in_the_middle_of_a_statement_it_is_closed,
    hooks_run_once_it_has_ended,
    a_failure_that_was_swallowed_is_no_commit,
    a_commit_in_its_midst_is_told,
    a_key_commits_once,
    a_deadline_that_has_passed_is_not_committed,
    inside_a_transaction_it_is_refused,
    a_gap_is_found_with_the_statement_behind_it,
    a_gap_fails_a_test,
    a_gap_before_commit_and_inside_of_a_helper_is_found,
    a_wait_for_a_key_is_no_gap,
    a_transaction_of_another_call_is_not_followed_by_an_attempt,
    a_panic_closes_its_connection,
];

async fn it_is_passed_around_and_committed_elsewhere<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 1).build().unwrap();
    let mut tx = db.begin("passed around").await.unwrap();
    D::run(&mut tx, CREDIT).await.unwrap();
    let elsewhere = tokio::spawn(async move {
        D::run(&mut tx, CREDIT).await.unwrap();
        tx.commit().await
    });
    elsewhere.await.unwrap().unwrap();
    assert_eq!(shop.balance_of(1).await, 102);

    let mut tx = db.begin("rolled back").await.unwrap();
    D::run(&mut tx, CREDIT).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(shop.balance_of(1).await, 102);
    assert_eq!(shop.backends().await.len(), 1);
}

async fn an_early_return_keeps_the_connection<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 1).build().unwrap();
    let mut backends = Vec::new();
    for _ in 0..EARLY_RETURNS {
        let mut tx = db.begin("early return").await.unwrap();
        D::run(&mut tx, CREDIT).await.unwrap();
        drop(tx);
        if backends.is_empty() {
            backends = shop.backends().await;
        }
    }
    assert_eq!(shop.backends().await, backends);
    assert_eq!((shop.busy().await, shop.balance_of(1).await), (0, 100));
}

async fn dropped_in_the_middle_of_a_statement_it_is_closed<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 1).build().unwrap();
    let mut tx = db.begin("in the middle").await.unwrap();
    D::run(&mut tx, CREDIT).await.unwrap();
    let before = shop.backends().await;
    let sleeps = D::run(&mut tx, "SELECT pg_sleep(600)");
    assert!(tokio::time::timeout(Duration::from_millis(50), sleeps).await.is_err());
    drop(tx);
    // Its locks are free soon, and not after ten minutes.
    shop.watcher.batch_execute("SET lock_timeout = '5s'").await.unwrap();
    shop.watcher.batch_execute(CREDIT).await.unwrap();
    let mut tx = db.begin("next").await.unwrap();
    D::run(&mut tx, CREDIT).await.unwrap();
    tx.commit().await.unwrap();
    assert_ne!(shop.backends().await, before);
    assert_eq!(shop.balance_of(1).await, 102);
}

async fn hooks_run_once_it_has_ended<
    D: Words + txsafe::driver::HasAccount<Hook = txsafe::driver::AsyncHook>,
>() {
    let shop = open().await;
    let db = D::open(&shop.url, 1).build().unwrap();
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let tell = |what: &'static str| {
        let told = told.clone();
        txsafe::driver::async_hook(async move || told.send(what).unwrap())
    };
    for ends in ["commits", "rolls back", "is dropped"] {
        let mut tx = db.begin("hooks").await.unwrap();
        D::account(&mut *tx).hooks.push_after_commit(tell("committed"));
        D::account(&mut *tx).hooks.push_after_rollback(tell("rolled back"));
        assert!(heard.try_recv().is_err());
        let expected = match ends {
            "commits" => {
                tx.commit().await.unwrap();
                "committed"
            }
            "rolls back" => {
                tx.rollback().await.unwrap();
                "rolled back"
            }
            _ => {
                drop(tx);
                "rolled back"
            }
        };
        assert_eq!(heard.recv().await, Some(expected), "{ends}");
        assert!(heard.try_recv().is_err(), "{ends}");
    }
}

async fn a_failure_that_was_swallowed_is_no_commit<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 1).build().unwrap();
    let mut tx = db.begin("swallowed").await.unwrap();
    D::run(&mut tx, CREDIT).await.unwrap();
    D::run(&mut tx, "INSERT INTO accounts VALUES (1, 0)").await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::RolledBackAtCommit);
    assert_eq!(error.failure().unwrap().constraint(), Some("accounts_pkey"));
    assert_eq!((shop.busy().await, shop.balance_of(1).await), (0, 100));
}

async fn a_commit_in_its_midst_is_told<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 1).build().unwrap();
    for ends in ["commits", "rolls back"] {
        let mut tx = db.begin("left").await.unwrap();
        D::run(&mut tx, CREDIT).await.unwrap();
        D::run(&mut tx, "COMMIT").await.unwrap();
        let ended = if ends == "commits" { tx.commit().await } else { tx.rollback().await };
        let error = ended.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::EndedByClosure, "{ends}");
        assert_eq!(error.outcome(), Outcome::Unknown, "{ends}");
    }
    assert_eq!((shop.busy().await, shop.balance_of(1).await), (0, 102));
}

async fn a_key_commits_once<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 1).build().unwrap();
    for round in 0..3 {
        let begun = db.idempotency_key("request-1").begin("keyed").await.unwrap();
        let Keyed::Ran(mut tx) = begun else {
            assert_eq!(round, 2);
            break;
        };
        D::run(&mut tx, CREDIT).await.unwrap();
        // What was rolled back is done again.
        if round == 0 { tx.rollback().await.unwrap() } else { tx.commit().await.unwrap() }
    }
    assert_eq!(shop.balance_of(1).await, 101);
}

async fn a_deadline_that_has_passed_is_not_committed<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 1).build().unwrap();
    let patience = TxOptions::new().timeout(Duration::from_millis(300));
    let mut tx = db.with(patience).begin("late").await.unwrap();
    D::run(&mut tx, CREDIT).await.unwrap();
    tokio::time::sleep(Duration::from_millis(310)).await;
    let error = tx.commit().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (&ErrorKind::DeadlineExceeded, Outcome::RolledBack)
    );
    assert_eq!((shop.busy().await, shop.balance_of(1).await), (0, 100));
}

async fn inside_a_transaction_it_is_refused<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 2).build().unwrap();
    let inner = db.clone();
    let nested = db.transaction("outer", async |_tx: D::Tx<'_, NoOrder, Unlocked>| {
        inner.begin("inner").await.map(drop)
    });
    let error: Error = nested.await.unwrap_err();
    assert!(error.is_nested_transaction(), "{error}");
}

async fn a_gap_is_found_with_the_statement_behind_it<D: Words>() {
    let shop = open().await;
    let (policy, findings) = watching(Policy::dev());
    let db = D::open(&shop.url, 1).guard(policy).build().unwrap();
    let mut tx = db.begin("gap").await.unwrap();
    D::run(&mut tx, CREDIT).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    D::run(&mut tx, CREDIT).await.unwrap();
    let line = line!() - 1;
    tx.commit().await.unwrap();
    let wait = &found(&findings, 1)[0];
    assert_eq!(wait.code, Code::ExternalWait);
    assert!(wait.waited.unwrap() >= Duration::from_millis(60), "{wait}");
    let site = wait.site.as_ref().unwrap();
    assert!(site.is_behind && site.file.ends_with("asynchronous.rs"), "{wait}");
    assert_eq!(site.line, line, "{wait}");
    assert!(wait.to_string().contains("sent nothing to its database for"), "{wait}");
}

async fn a_gap_fails_a_test<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 1).guard(Policy::test()).build().unwrap();
    let mut tx = db.begin("gap").await.unwrap();
    D::run(&mut tx, CREDIT).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    D::run(&mut tx, CREDIT).await.unwrap();
    let panicked = AssertUnwindSafe(tx.commit()).catch_unwind().await.unwrap_err();
    let text = panicked.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("TXS001 external wait"), "{text}");
    assert_eq!((shop.busy().await, shop.balance_of(1).await), (0, 100));
}

async fn a_gap_before_commit_and_inside_of_a_helper_is_found<D: Words>() {
    async fn helper<D: Words>(tx: &mut D::Tx<'_, NoOrder, Unlocked>) {
        D::run(tx, CREDIT).await.unwrap();
        tokio::time::sleep(GAP).await;
        D::run(tx, "SELECT 'behind the gap'").await.unwrap();
    }
    let shop = open().await;
    let (policy, findings) = watching(Policy::dev());
    let db = D::open(&shop.url, 1).guard(policy).build().unwrap();
    let mut tx = db.begin("gaps").await.unwrap();
    helper::<D>(&mut tx).await;
    tokio::time::sleep(GAP).await;
    tx.commit().await.unwrap();
    let line = line!() - 1;
    let findings = found(&findings, 2);
    let mut whats: Vec<_> = findings.iter().map(|found| found.what.as_str()).collect();
    whats.sort_by_key(|what| what.len());
    let [before_commit, inside] = whats[..] else { panic!("{whats:?}") };
    assert!(!before_commit.contains("before"), "{whats:?}");
    assert!(inside.ends_with("before `SELECT 'behind the gap'`"), "{whats:?}");
    let sites: Vec<_> = findings.iter().filter_map(|found| found.site.as_ref()).collect();
    assert!(sites.len() == 1 && sites[0].line == line, "{sites:?}");
}

/// As long as what is looked at here has to be.
const GAP: Duration = Duration::from_millis(60);

async fn a_wait_for_a_key_is_no_gap<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 2).guard(Policy::test()).build().unwrap();
    let db = &db;
    let Keyed::Ran(first) = db.idempotency_key("one").begin("keyed").await.unwrap() else {
        panic!("it is new");
    };
    let second = async {
        let begun = db.idempotency_key("one").begin("keyed").await.unwrap();
        let Keyed::Ran(mut tx) = begun else { panic!("the first one has rolled back") };
        D::run(&mut tx, CREDIT).await.unwrap();
        tx.commit().await.unwrap();
    };
    let first = async {
        tokio::time::sleep(2 * GAP).await;
        // A finding doesn't fail what is rolled back anyway.
        first.rollback().await.unwrap();
    };
    tokio::join!(second, first);
    assert_eq!(shop.balance_of(1).await, 101);
}

async fn a_transaction_of_another_call_is_not_followed_by_an_attempt<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 2).build().unwrap();
    let mut tx = db.begin("another").await.unwrap();
    let fails = "DO $$ BEGIN RAISE 'could not serialize access' USING ERRCODE = '40001'; END $$";
    let result = D::run(&mut tx, fails).await.map_err(|_| None::<Error>);
    let mut attempts = db.attempts("own");
    let Keyed::Ran(keyed) = db.idempotency_key("one").begin("own").await.unwrap() else {
        panic!("it is new");
    };
    for (tx, result) in [(tx, result), (keyed, Err(None))] {
        let result = result.map_err(Failed);
        assert!(matches!(attempts.finish(tx, result).await, ControlFlow::Break(Err(Failed(None)))));
    }
    attempts.begin().await.unwrap().commit().await.unwrap();
    assert_eq!(shop.busy().await, 0);
}

/// An error of the application, or txsafe's.
#[derive(Debug)]
struct Failed(Option<Error>);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(Some(error))
    }
}

/// A line of the driver's own, between the caller and us, isn't the place.
#[tokio::test]
async fn the_place_is_the_callers_where_the_driver_dereferences() {
    let shop = open().await;
    let (policy, findings) = watching(Policy::dev());
    let db = txsafe_diesel::Driver::open(&shop.url, 1).guard(policy).build().unwrap();
    let mut tx = db.begin("place").await.unwrap();
    tx.batch_execute(CREDIT).await.unwrap();
    tokio::time::sleep(GAP).await;
    tx.batch_execute(CREDIT).await.unwrap();
    let line = line!() - 1;
    tx.commit().await.unwrap();
    let findings = found(&findings, 1);
    let site = findings[0].site.as_ref().unwrap();
    assert!(site.file.ends_with("asynchronous.rs") && site.line == line, "{}", findings[0]);
}

/// SQLx's pool spawns a task for a connection that it loses, if it keeps a number of them.
#[test]
fn outside_a_runtime_a_pool_that_keeps_connections_loses_one() {
    let runtime = Runtime::new().unwrap();
    let shop = runtime.block_on(open());
    let (db, tx) = runtime.block_on(async {
        let pool = txsafe_sqlx::pool_options().min_connections(1).max_connections(1);
        let db = txsafe_sqlx::Database::builder(pool.connect_lazy(&shop.url).unwrap());
        let db = db.build().unwrap();
        let mut tx = db.begin("dropped outside").await.unwrap();
        tx.execute(CREDIT).await.unwrap();
        (db, tx)
    });
    drop(tx);
    assert_eq!(runtime.block_on(shop.busy()), 0);
    runtime.block_on(async { db.begin("next").await.unwrap().commit().await.unwrap() });
    let tx = runtime.block_on(db.begin("dropped behind")).unwrap();
    drop(runtime);
    drop(tx);
}

async fn a_panic_closes_its_connection<D: Words>() {
    let shop = open().await;
    let db = D::open(&shop.url, 1).build().unwrap();
    let of_task = db.clone();
    let task = tokio::spawn(async move {
        let mut tx = of_task.begin("panics").await.unwrap();
        D::run(&mut tx, CREDIT).await.unwrap();
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!((shop.busy().await, shop.balance_of(1).await), (0, 100));
    let mut tx = db.begin("next").await.unwrap();
    D::run(&mut tx, CREDIT).await.unwrap();
    tx.commit().await.unwrap();
}

/// A connection is closed where no task can roll back, and nothing panics.
#[test]
fn outside_a_runtime_it_is_closed() {
    fn of<D: Words>() {
        let runtime = Runtime::new().unwrap();
        let shop = runtime.block_on(open());
        let (db, tx) = runtime.block_on(async {
            let db = D::open(&shop.url, 1).build().unwrap();
            let mut tx = db.begin("dropped outside").await.unwrap();
            D::run(&mut tx, CREDIT).await.unwrap();
            (db, tx)
        });
        drop(tx);
        assert_eq!(runtime.block_on(shop.busy()), 0);
        let mut tx = runtime.block_on(db.begin("next")).unwrap();
        runtime.block_on(D::run(&mut tx, CREDIT)).unwrap();
        let commit = tx.commit();
        runtime.block_on(commit).unwrap();
        // Whose runtime is gone with its pool's tasks.
        let tx = runtime.block_on(db.begin("dropped behind")).unwrap();
        drop(runtime);
        drop(tx);
    }
    of::<txsafe_sqlx::Driver>();
    of::<txsafe_diesel::Driver>();
}
