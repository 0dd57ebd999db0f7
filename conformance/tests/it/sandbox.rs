//! Transactions of a test that run as savepoints of one that is rolled back.

use crate::words::CREDIT;
use diesel_async::{SimpleAsyncConnection, pooled_connection::deadpool};
use futures_util::FutureExt;
use sqlx::Executor;
use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use txsafe::{ErrorKind, IDEMPOTENCY_KEYS_SQL, Keyed, Outcome, TxOptions};
use txsafe_conformance::{error::AppError, script::raise, shop::Shop};

/// Fails unless account 1 has this balance, as the transaction sees it.
fn has(balance: i64) -> String {
    format!("SELECT 1 / (balance = {balance})::int FROM accounts WHERE id = 1")
}

/// The drivers whose closures are async.
macro_rules! sandboxes {
    (
        $module:ident, $driver:ident, |$tx:ident, $sql:ident| $run:expr, |$url:ident| $pool:expr,
        |$from:ident| $taken:expr
    ) => {
        mod $module {
            use super::*;
            use $driver::{Database, Sandbox};

            /// A handler of the application, which knows nothing of sandboxes.
            async fn run(db: &Database, $sql: impl Into<String>) -> Result<(), AppError> {
                let $sql: String = $sql.into();
                db.transaction("run", async |mut $tx| {
                    let $sql = $sql.clone();
                    $run.await?;
                    Ok::<_, AppError>(())
                })
                .await
            }

            async fn open() -> (Shop, Database) {
                let shop = Shop::open("sandbox").await.unwrap();
                let $url = shop.url.as_str();
                let db = Database::builder($pool).build().unwrap();
                (shop, db)
            }

            #[tokio::test]
            async fn transactions_see_each_other_and_nothing_stays() {
                let (shop, db) = open().await;
                let sandbox = db.sandbox().await.unwrap();
                run(&sandbox, CREDIT).await.unwrap();
                run(&sandbox, format!("{CREDIT}; INSERT INTO accounts VALUES (1, 0)")).await.unwrap_err();
                run(&sandbox, CREDIT).await.unwrap();
                run(&sandbox, has(102)).await.unwrap();
                assert_eq!(shop.balance_of(1).await, 100);
                sandbox.close().await.unwrap();
                assert_eq!(shop.balance_of(1).await, 100);
                // The connection is as good as before, and the database commits again.
                run(&db, CREDIT).await.unwrap();
                assert_eq!(shop.balance_of(1).await, 101);
            }

            #[tokio::test]
            async fn a_sandbox_that_is_dropped_is_rolled_back() {
                let (shop, db) = open().await;
                let sandbox = db.sandbox().await.unwrap();
                run(&sandbox, CREDIT).await.unwrap();
                drop(sandbox);
                // Its lock on the row is gone.
                run(&db, has(100)).await.unwrap();
                run(&db, CREDIT).await.unwrap();
                assert_eq!(shop.balance_of(1).await, 101);
            }

            #[tokio::test]
            async fn an_attempt_that_is_retried_is_undone_first() {
                let (_shop, db) = open().await;
                let sandbox = db.sandbox().await.unwrap();
                let collisions = AtomicU32::new(2);
                let runs = sandbox.transaction("again", async |mut $tx| {
                    let $sql = CREDIT.to_owned();
                    $run.await?;
                    let left = collisions.load(Relaxed);
                    if left > 0 {
                        collisions.store(left - 1, Relaxed);
                        let $sql = raise("40001");
                        $run.await?;
                    }
                    Ok::<_, AppError>(())
                });
                runs.await.unwrap();
                assert_eq!(collisions.load(Relaxed), 0);
                run(&sandbox, has(101)).await.unwrap();
            }

            #[tokio::test]
            async fn a_swallowed_failure_is_an_error() {
                let (_shop, db) = open().await;
                let sandbox = db.sandbox().await.unwrap();
                let swallowed = sandbox.transaction("swallow", async |mut $tx| {
                    let $sql = "SELECT 1/0".to_owned();
                    let _ignored = $run.await;
                    Ok::<_, AppError>(())
                });
                let error = swallowed.await.unwrap_err().ours();
                assert!(error.is_rolled_back_at_commit(), "{error}");
                run(&sandbox, CREDIT).await.unwrap();
            }

            #[tokio::test]
            async fn deferred_constraints_are_checked_where_a_transaction_would_commit() {
                let (_shop, db) = open().await;
                let sandbox = db.sandbox().await.unwrap();
                let tables = "CREATE TABLE parents (id int PRIMARY KEY);
                              CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)";
                run(&sandbox, tables).await.unwrap();
                let orphan = "INSERT INTO children VALUES (1)";
                let error = run(&sandbox, orphan).await.unwrap_err().ours();
                assert_eq!(error.outcome(), Outcome::RolledBack, "{error}");
                assert_eq!(error.sqlstate().map(|state| state.to_string()).as_deref(), Some("23503"));
                // They are deferred again for the next one.
                run(&sandbox, format!("{orphan}; INSERT INTO parents VALUES (1)")).await.unwrap();
            }

            #[tokio::test]
            async fn hooks_run_behind_their_transaction_or_are_captured() {
                let (_shop, db) = open().await;
                let sent = Arc::new(AtomicU32::new(0));
                let send = async |sandbox: &Sandbox, fails: bool| {
                    sandbox
                        .transaction("send", async |tx| {
                            let mut tx = tx;
                            let sent = Arc::clone(&sent);
                            tx.after_commit(async move || _ = sent.fetch_add(1, Relaxed));
                            if fails { Err(AppError::Own("no")) } else { Ok(()) }
                        })
                        .await
                };
                let sandbox = db.sandbox().await.unwrap();
                send(&sandbox, false).await.unwrap();
                send(&sandbox, true).await.unwrap_err();
                assert_eq!((sent.load(Relaxed), sandbox.captured_hooks()), (1, 0));
                sandbox.close().await.unwrap();

                let sandbox = db.sandbox_capturing_hooks().await.unwrap();
                send(&sandbox, false).await.unwrap();
                send(&sandbox, true).await.unwrap_err();
                assert_eq!((sent.load(Relaxed), sandbox.captured_hooks()), (1, 1));
                assert_eq!(sandbox.run_hooks().await, 1);
                assert_eq!((sent.load(Relaxed), sandbox.captured_hooks()), (2, 0));
            }

            #[tokio::test]
            async fn a_transaction_that_is_dropped_or_panics_is_undone() {
                let (shop, db) = open().await;
                let sandbox = db.sandbox().await.unwrap();
                let sleep = format!("SELECT pg_sleep(60) /* {} */", fastrand::u64(..));
                let dropped = sandbox.transaction("dropped", async |mut $tx| {
                    let $sql = CREDIT.to_owned();
                    $run.await?;
                    let $sql = sleep.clone();
                    $run.await?;
                    Ok::<_, AppError>(())
                });
                // Dropped while its statement runs.
                let sleeps = format!(
                    "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = '{sleep}'"
                );
                let is_asleep = async {
                    while shop.watcher.query(&sleeps, &[]).await.unwrap().is_empty() {}
                };
                tokio::select! {
                    ended = dropped => panic!("{ended:?}"),
                    () = is_asleep => {}
                }
                let cancel = sleeps.replacen("SELECT 1", "SELECT pg_cancel_backend(pid)", 1);
                shop.watcher.batch_execute(&cancel).await.unwrap();
                run(&sandbox, has(100)).await.unwrap();

                let panics = sandbox.transaction("panics", async |mut $tx| {
                    let $sql = CREDIT.to_owned();
                    $run.await?;
                    if true {
                        panic!("on purpose");
                    }
                    Ok::<_, AppError>(())
                });
                AssertUnwindSafe(panics).catch_unwind().await.unwrap_err();
                run(&sandbox, has(100)).await.unwrap();
                run(&sandbox, CREDIT).await.unwrap();
                run(&sandbox, has(101)).await.unwrap();
            }

            #[tokio::test]
            async fn transactions_at_the_same_time_run_one_after_the_other() {
                let (_shop, db) = open().await;
                let sandbox = db.sandbox().await.unwrap();
                let (one, two) = tokio::join!(run(&sandbox, CREDIT), run(&sandbox, CREDIT));
                one.unwrap();
                two.unwrap();
                run(&sandbox, has(102)).await.unwrap();

                let short = TxOptions::new().checkout_timeout(Duration::from_millis(1));
                let waits = sandbox.transaction("outer", async |_tx| {
                    let (db, short) = (sandbox.clone(), short.clone());
                    let other = async move {
                        db.with(short).transaction("other", async |_tx| Ok::<_, AppError>(())).await
                    };
                    Ok::<_, AppError>(tokio::spawn(other).await.unwrap())
                });
                let error = waits.await.unwrap().unwrap_err().ours();
                assert!(error.to_string().contains("a sandbox has one connection"), "{error}");
            }

            #[tokio::test]
            async fn keys_and_settings_work() {
                let (shop, db) = open().await;
                shop.watcher.batch_execute(IDEMPOTENCY_KEYS_SQL).await.unwrap();
                let sandbox = db.sandbox().await.unwrap();
                for expected in ["Ran(())", "AlreadyCommitted"] {
                    let keyed: Keyed<()> = sandbox
                        .idempotency_key("7")
                        .transaction("keyed", async |_tx| Ok::<_, AppError>(()))
                        .await
                        .unwrap();
                    assert_eq!(format!("{keyed:?}"), expected);
                }
                let tenant = sandbox.with(TxOptions::new().set_local("app.tenant", "7"));
                let seen = tenant.transaction("tenant", async |mut $tx| {
                    let $sql = "SELECT 1 / (current_setting('app.tenant') = '7')::int".to_owned();
                    $run.await?;
                    Ok::<_, AppError>(())
                });
                seen.await.unwrap();
            }

            #[tokio::test]
            async fn what_would_leave_the_sandbox_is_refused() {
                let (_shop, db) = open().await;
                let sandbox = db.sandbox().await.unwrap();
                let refused = |error: txsafe::Error| {
                    assert!(matches!(error.kind(), ErrorKind::InvalidSetting(_)), "{error}");
                    assert!(error.to_string().contains("sandbox"), "{error}");
                };
                refused(sandbox.begin("by hand").await.err().unwrap());
                refused(sandbox.attempts("by hand").begin().await.err().unwrap());
                let local = sandbox.transaction_local("local", async |_tx| Ok::<_, AppError>(()));
                refused(local.await.unwrap_err().ours());
                let keyed = sandbox.idempotency_key("8");
                refused(keyed.begin("by hand").await.err().unwrap());
                let $from = db.pool();
                let mut conn = $taken.await.unwrap();
                let on = sandbox.transaction_on(&mut conn, "on", async |_tx| {
                    Ok::<_, AppError>(())
                });
                refused(on.await.unwrap_err().ours());
                let db: Database = sandbox.clone();
                sandbox.close().await.unwrap();
                let error = run(&db, CREDIT).await.unwrap_err().ours();
                assert!(error.to_string().contains("the sandbox is closed"), "{error}");
            }
        }
    };
}

sandboxes!(
    of_diesel_async,
    txsafe_diesel,
    |tx, sql| tx.batch_execute(&sql),
    |url| deadpool::Pool::builder(txsafe_diesel::manager(url)).max_size(2).build().unwrap(),
    |pool| pool.get()
);
sandboxes!(
    of_sqlx,
    txsafe_sqlx,
    |tx, sql| tx.execute(sqlx::AssertSqlSafe(sql)),
    |url| txsafe_sqlx::pool_options().max_connections(2).connect_lazy(url).unwrap(),
    |pool| pool.acquire()
);
