//! One writer at a time: who waits, and for how long.

use super::bank::{Bank, MS};
use futures_util::future::join_all;
use sqlx::{
    Connection, Executor, SqliteConnection, query_scalar,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use std::sync::{Arc, Mutex};
use txsafe::{Cause, GiveUp, Report, RetryPolicy, Timeout, TxOptions};
use txsafe_conformance::{
    drivers::Call,
    error::AppError,
    script::{Script, Step},
};
use txsafe_sqlx::sqlite;

/// Lets somebody else write, until the pause behind the first attempt.
async fn behind_a_writer(bank: &Bank, options: TxOptions) -> (Result<(), AppError>, Script) {
    let mut writer = bank.connect().await;
    writer.execute("BEGIN IMMEDIATE; UPDATE accounts SET balance = 0 WHERE id = 3").await.unwrap();
    let writer = Arc::new(Mutex::new(Some(writer)));
    let policy = RetryPolicy::new().max_attempts(1_000).pauses(move || {
        let writer = Arc::clone(&writer);
        std::iter::repeat_with(move || {
            // Closing it rolls back.
            drop(writer.lock().unwrap().take());
            MS
        })
    });
    let script = Script::new([Step::Credit(1, 5)]);
    let call = Call::new("waits").with(options.retry(policy));
    (bank.db.run(call, script.clone()).await.map(drop), script)
}

#[tokio::test]
async fn a_busy_database_is_tried_again() {
    let bank = Bank::open("busy").await;
    let options = || TxOptions::new().lock_timeout(20 * MS).adaptive_lock_timeout(false);
    let (ended, script) = behind_a_writer(&bank, options()).await;
    ended.unwrap();
    // The write lock is that of BEGIN: the closure runs once it is there.
    assert_eq!((bank.balance_of(1).await, script.attempts()), (105, 1));
    let report: Report = bank.reports.last();
    assert!(report.failures.iter().all(|failed| failed.cause == Cause::LockTimeout), "{report}");

    let mut writer = bank.connect().await;
    writer.execute("BEGIN IMMEDIATE").await.unwrap();
    let policy = RetryPolicy::new().max_attempts(2).min_pause(MS).max_pause(MS);
    let call = Call::new("gives up").with(options().retry(policy));
    let error = bank.db.run(call, Script::new([])).await.unwrap_err().ours();
    assert_eq!(error.gave_up(), Some(GiveUp::Attempts(2)), "{error:?}");
    assert!(
        error.is_transient() && error.to_string().contains("database is locked (code 5)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_shorter_busy_timeout_of_the_connection_is_kept() {
    // 5 s are SQLx's own; 0 is not to wait at all.
    for (own, inside) in [(5_000, 2_000), (20, 20), (0, 0)] {
        let bank = Bank::open("own_timeout").await;
        let options: SqliteConnectOptions = bank.url.parse().unwrap();
        let options = options.busy_timeout(own * MS);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
        let writer = Arc::new(Mutex::new(None));
        let gone = Arc::clone(&writer);
        let policy = RetryPolicy::new().pauses(move || {
            let gone = Arc::clone(&gone);
            std::iter::repeat_with(move || {
                // Closing it rolls back.
                drop(gone.lock().unwrap().take());
                MS
            })
        });
        let builder = sqlite::Database::builder(pool.unwrap()).adaptive_lock_timeout(false);
        let db = builder.retry(policy).build().unwrap();
        let own = i64::from(own);
        let read = async || {
            let read = db.transaction("reads", async |mut tx| {
                let timeout = query_scalar("PRAGMA busy_timeout").fetch_one(&mut tx).await?;
                Ok::<i64, AppError>(timeout)
            });
            assert_eq!(read.await.unwrap(), inside, "{own}");
            let back: i64 = query_scalar("PRAGMA busy_timeout").fetch_one(db.pool()).await.unwrap();
            assert_eq!(back, own);
        };
        read().await;
        let mut locks = bank.connect().await;
        locks.execute("BEGIN IMMEDIATE").await.unwrap();
        *writer.lock().unwrap() = Some(locks);
        // Busy, and tried again.
        read().await;
        assert!(writer.lock().unwrap().is_none(), "{own}: nobody has paused");
        let left = db.with(TxOptions::new().lock_timeout(Timeout::Server));
        let left = left.transaction("left", async |mut tx| {
            let timeout = query_scalar("PRAGMA busy_timeout").fetch_one(&mut tx).await?;
            Ok::<i64, AppError>(timeout)
        });
        assert_eq!(left.await.unwrap(), own);
    }
}

#[tokio::test]
async fn a_busy_commit_is_repeated_where_it_stands() {
    let bank = Bank::in_mode("busy_commit", "DELETE").await;
    // In rollback-journal mode a reader keeps others from committing.
    let mut reader = bank.connect().await;
    reader.execute("BEGIN; SELECT count(*) FROM accounts").await.unwrap();
    let script = Script::new([Step::Credit(1, 5)]);
    let options = TxOptions::new().lock_timeout(10 * MS).adaptive_lock_timeout(false);
    let mut other = SqliteConnection::connect(&bank.url).await.unwrap();
    other.execute("PRAGMA busy_timeout = 100").await.unwrap();
    let leaves = async {
        // While COMMIT waits nobody begins to read: for longer than it waits by itself, so that it is busy at least once.
        while other.execute("SELECT count(*) FROM accounts").await.is_ok() {}
        drop(reader);
    };
    let call = Call::new("commits").with(options);
    let (ended, ()) = tokio::join!(bank.db.run(call, script.clone()), leaves);
    ended.unwrap();
    assert_eq!((bank.balance_of(1).await, script.attempts()), (105, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_read_first_lose_nothing() {
    const WRITERS: i64 = 4;
    const EACH: i64 = 50;
    for journal in ["WAL", "DELETE"] {
        let bank = Bank::in_mode("storm", journal).await;
        let pool = SqlitePoolOptions::new().max_connections(4).connect(&bank.url).await.unwrap();
        let db = sqlite::Database::builder(pool).build().unwrap();
        let writer = async || {
            for _ in 0..EACH {
                let ended = db.transaction("increment", async |mut tx| {
                    let balance: i64 = query_scalar("SELECT balance FROM accounts WHERE id = 1")
                        .fetch_one(&mut tx)
                        .await?;
                    tokio::task::yield_now().await;
                    sqlx::query("UPDATE accounts SET balance = $1 WHERE id = 1")
                        .bind(balance + 1)
                        .execute(&mut tx)
                        .await?;
                    Ok::<_, AppError>(())
                });
                ended.await.unwrap();
            }
        };
        join_all((0..WRITERS).map(|_| writer())).await;
        assert_eq!(bank.balance_of(1).await, 100 + WRITERS * EACH, "{journal}");
    }
}
