//! SQLite on SQLx: the cases that a database with one writer and no server can have.

use futures_util::{FutureExt, StreamExt, future::join_all};
use sqlx::{
    AssertSqlSafe, Connection, Executor, SqlSafeStr, SqliteConnection, query_scalar,
    sqlite::SqlitePoolOptions,
};
use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Barrier;
use txsafe::{Cause, ErrorKind, GiveUp, Keyed, Outcome, Report, RetryPolicy, TxOptions};
use txsafe_conformance::{
    drivers::{Call, Database, Reports, Setup, open_sqlite},
    error::AppError,
    script::{Script, Step},
};
use txsafe_sqlx::sqlite;

const TABLES: &str = "
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0));
    INSERT INTO accounts VALUES (1, 100), (2, 100), (3, 100);
    CREATE TABLE orders (account INTEGER REFERENCES accounts (id) DEFERRABLE INITIALLY DEFERRED);
";

/// Violates a constraint; SQLite's transaction goes on.
const DUPLICATE: &str = "INSERT INTO accounts VALUES (1, 0)";
/// The same, and SQLite rolls the transaction back with it.
const DUPLICATE_ENDS: &str = "INSERT OR ROLLBACK INTO accounts VALUES (1, 0)";

const MS: Duration = Duration::from_millis(1);

/// A bank in a file, and somebody who looks into it.
struct Bank {
    url: String,
    file: PathBuf,
    db: Arc<dyn Database>,
    reports: Reports,
}

impl Bank {
    async fn open(name: &str) -> Self {
        Self::in_mode(name, "WAL").await
    }

    async fn in_mode(name: &str, journal: &str) -> Self {
        let file = std::env::temp_dir().join(format!("txsafe_{name}_{:x}.db", fastrand::u64(..)));
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let mut watcher = SqliteConnection::connect(&url).await.unwrap();
        let journal = format!("PRAGMA journal_mode = {journal}");
        watcher.execute(AssertSqlSafe(journal)).await.unwrap();
        watcher.execute(TABLES).await.unwrap();
        watcher.execute(sqlite::IDEMPOTENCY_KEYS_SQL).await.unwrap();
        watcher.close().await.unwrap();
        let reports = Reports::default();
        let setup = Setup { reports: reports.clone(), ..Setup::default() };
        let db = open_sqlite(&url, 4, setup).await.unwrap();
        Self { url, file, db, reports }
    }

    /// Another connection, as another process has it. One that closes takes the lock for a moment, for a checkpoint.
    async fn connect(&self) -> SqliteConnection {
        let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
        conn.execute("PRAGMA busy_timeout = 10000").await.unwrap();
        conn
    }

    async fn balance_of(&self, id: i32) -> i64 {
        let balance = query_scalar("SELECT balance FROM accounts WHERE id = $1").bind(id);
        balance.fetch_one(&mut self.connect().await).await.unwrap()
    }

    async fn run(&self, name: &'static str, script: &Script) -> Result<(), AppError> {
        self.db.run(Call::new(name), script.clone()).await.map(drop)
    }

    /// Nothing is left open: the next writer gets the lock.
    async fn assert_free(&self) {
        self.connect().await.execute("BEGIN IMMEDIATE; ROLLBACK").await.unwrap();
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm", "-journal"] {
            let mut file = self.file.clone().into_os_string();
            file.push(end);
            let _ = fs::remove_file(file);
        }
    }
}

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
async fn a_swallowed_failure_never_becomes_ok() {
    let bank = Bank::open("swallowed").await;
    for duplicate in [DUPLICATE, DUPLICATE_ENDS] {
        let steps = [Step::Credit(1, 5), Step::Swallow(duplicate.into())];
        let error = bank.run("swallows", &Script::new(steps)).await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::RolledBackAtCommit, "{error}");
        assert!(error.to_string().contains("(code 1555) in `INSERT"), "{error}");
        assert_eq!(error.outcome(), Outcome::RolledBack);
        assert_eq!(bank.balance_of(1).await, 100);
        bank.assert_free().await;
    }
}

#[tokio::test]
async fn nothing_runs_behind_a_failure_and_is_committed_by_itself() {
    let bank = Bank::open("behind").await;
    for duplicate in [DUPLICATE, DUPLICATE_ENDS] {
        let credit = "UPDATE accounts SET balance = 7 WHERE id = 2";
        let steps = [Step::Swallow(duplicate.into()), Step::Swallow(credit.into())];
        let error = bank.run("goes on", &Script::new(steps)).await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::RolledBackAtCommit, "{error}");
        let behind = Script::new([Step::Swallow(duplicate.into()), Step::sql(credit)]);
        assert!(matches!(bank.run("goes on", &behind).await, Err(AppError::Opaque)));
        assert_eq!(bank.balance_of(2).await, 100);
        bank.assert_free().await;
    }
}

#[tokio::test]
async fn a_savepoint_undoes_its_part() {
    let bank = Bank::open("savepoint").await;
    let part = vec![Step::Credit(1, 5), Step::sql(DUPLICATE)];
    let script = Script::new([Step::Savepoint(part), Step::Credit(2, 5)]);
    bank.run("savepoint", &script).await.unwrap();
    assert_eq!((bank.balance_of(1).await, bank.balance_of(2).await), (100, 105));
    // With the transaction its savepoint has gone.
    let part = vec![Step::Credit(1, 5), Step::sql(DUPLICATE_ENDS)];
    let script = Script::new([Step::Savepoint(part), Step::Credit(2, 5)]);
    bank.run("savepoint", &script).await.unwrap_err();
    assert_eq!((bank.balance_of(1).await, bank.balance_of(2).await), (100, 105));
    bank.assert_free().await;
}

#[tokio::test]
async fn a_savepoint_behind_a_failure_doesnt_undo_it() {
    let bank = Bank::open("late_savepoint").await;
    let overdraws = "UPDATE accounts SET balance = balance - 1000 WHERE id = 1";
    let steps = [Step::Swallow(overdraws.into()), Step::Savepoint(vec![]), Step::Credit(2, 1_000)];
    // The savepoint's error is swallowed, too, and so the credit comes.
    bank.run("transfer", &Script::new(steps)).await.unwrap_err();
    assert_eq!((bank.balance_of(1).await, bank.balance_of(2).await), (100, 100));
    bank.assert_free().await;
}

#[tokio::test]
async fn a_statement_that_was_given_up_is_not_committed_around() {
    let bank = Bank::open("given_up").await;
    let pool = SqlitePoolOptions::new().max_connections(1).connect(&bank.url).await.unwrap();
    let db = sqlite::Database::builder(pool).build().unwrap();
    // It counts for a while first.
    let overdraws = "UPDATE accounts SET balance = balance - 1000 - (WITH RECURSIVE n (i) AS
        (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT min(i) FROM n) WHERE id = 1";
    for goes_on in [false, true] {
        let ended = db.transaction("given up", async |mut tx| {
            let given_up = sqlx::query(overdraws).execute(&mut tx).now_or_never();
            assert!(given_up.is_none(), "it runs on a thread of its own");
            // Preparing another one doesn't make it forgotten.
            (&mut tx).prepare("SELECT 1".into_sql_str()).await?;
            if goes_on {
                let comment =
                    "-- rollback the reservation\nUPDATE accounts SET balance = 7 WHERE id = 2";
                assert!(sqlx::query(comment).execute(&mut tx).await.is_err());
                let credit = sqlx::query("UPDATE accounts SET balance = 7 WHERE id = 2");
                assert!(credit.execute(&mut tx).await.is_err());
            }
            Ok::<_, AppError>(())
        });
        let error = ended.await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::RolledBackAtCommit, "{error}");
        assert!(error.to_string().contains("its future was dropped"), "{error}");
        assert_eq!((bank.balance_of(1).await, bank.balance_of(2).await), (100, 100));
    }
    // What only reads does no harm.
    let read = db.transaction("read", async |mut tx| {
        drop(sqlx::query("SELECT * FROM accounts").fetch(&mut tx).next().await);
        sqlx::query("UPDATE accounts SET balance = 7 WHERE id = 2").execute(&mut tx).await?;
        Ok::<_, AppError>(())
    });
    read.await.unwrap();
    assert_eq!(bank.balance_of(2).await, 7);
}

#[tokio::test]
async fn what_was_committed_unseen_is_not_called_rolled_back() {
    for lent in ["COMMIT", "COMMIT; BEGIN", "COMMIT; BEGIN; UPDATE accounts SET balance = 0"] {
        let bank = Bank::open("unseen_commit").await;
        let steps = [Step::Credit(1, 5), Step::Lent(lent.into()), Step::Fail("no")];
        let script = Script::new(steps);
        let error = bank.run("ends", &script).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{lent}: {error:?}");
        assert_eq!((bank.balance_of(1).await, script.attempts()), (105, 1), "{lent}");
        bank.assert_free().await;
    }
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
async fn on_a_held_connection_whose_transaction_has_gone() {
    let bank = Bank::open("held_gone").await;
    for gone in ["COMMIT", "INSERT OR ROLLBACK INTO accounts VALUES (1, 0)"] {
        let script = Script::new([Step::Swallow(gone.into())]);
        let ended = bank.db.run_on("SELECT 1", Call::new("held"), script, "SELECT 1").await;
        assert!(ended.is_err(), "{gone}");
        bank.assert_free().await;
    }
}

#[tokio::test]
async fn a_closure_that_ends_its_transaction_unseen_is_found_out() {
    let bank = Bank::open("ends").await;
    for (lent, left) in [("COMMIT", 105), ("ROLLBACK; BEGIN", 105), ("COMMIT; BEGIN", 110)] {
        let steps = [Step::Credit(1, 5), Step::Lent(lent.into())];
        let error = bank.run("ends", &Script::new(steps)).await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::EndedByClosure, "{lent}: {error}");
        assert_eq!((error.outcome(), bank.balance_of(1).await), (Outcome::Unknown, left), "{lent}");
        bank.assert_free().await;
    }
    // The pool isn't poisoned by any of them.
    bank.run("well", &Script::new([Step::Credit(2, 5)])).await.unwrap();
    assert_eq!(bank.balance_of(2).await, 105);
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
async fn a_busy_commit_is_repeated_where_it_stands() {
    let bank = Bank::in_mode("busy_commit", "DELETE").await;
    // In rollback-journal mode a reader keeps others from committing.
    let mut reader = bank.connect().await;
    reader.execute("BEGIN; SELECT count(*) FROM accounts").await.unwrap();
    let script = Script::new([Step::Credit(1, 5)]);
    let options = TxOptions::new().lock_timeout(10 * MS).adaptive_lock_timeout(false);
    let leaves = {
        let reader = Arc::new(Mutex::new(Some(reader)));
        std::thread::spawn(move || {
            // So that COMMIT is busy at least once.
            std::thread::sleep(100 * MS);
            drop(reader.lock().unwrap().take());
        })
    };
    bank.db.run(Call::new("commits").with(options), script.clone()).await.unwrap();
    leaves.join().unwrap();
    assert_eq!((bank.balance_of(1).await, script.attempts()), (105, 1));
}

#[tokio::test]
async fn a_connection_goes_back_as_it_came() {
    let bank = Bank::open("restored").await;
    let pool = SqlitePoolOptions::new().max_connections(1).connect(&bank.url).await.unwrap();
    let settings = async || -> (i64, i64) {
        let timeout = query_scalar("PRAGMA busy_timeout").fetch_one(&pool).await.unwrap();
        (timeout, query_scalar("PRAGMA query_only").fetch_one(&pool).await.unwrap())
    };
    let before = settings().await;
    let db = sqlite::Database::builder(pool.clone()).build().unwrap();
    let refused =
        db.with(TxOptions::new().lock_timeout(20 * MS)).transaction("order", async |mut tx| {
            sqlx::query("INSERT INTO orders VALUES (4711)").execute(&mut tx).await?;
            Ok::<_, AppError>(())
        });
    refused.await.unwrap_err();
    assert_eq!(settings().await, before, "COMMIT was refused");
    for read_only in [false, true] {
        for fails in [false, true] {
            let options = TxOptions::new().lock_timeout(20 * MS).read_only(read_only);
            let ended = db.with(options).transaction("settings", async |mut tx| {
                sqlx::query("UPDATE accounts SET balance = 7 WHERE id = 1")
                    .execute(&mut tx)
                    .await?;
                if fails { Err(AppError::Own("no")) } else { Ok(()) }
            });
            assert_eq!(ended.await.is_ok(), !read_only && !fails);
            assert_eq!(settings().await, before, "read only: {read_only}, fails: {fails}");
        }
    }
    let count: i64 = db
        .with(TxOptions::new().read_only(true))
        .transaction("reads", async |mut tx| {
            let count = query_scalar("SELECT count(*) FROM accounts").fetch_one(&mut tx).await?;
            Ok::<_, AppError>(count)
        })
        .await
        .unwrap();
    assert_eq!((count, settings().await), (3, before));
    // An application's own is left as it is.
    sqlx::query("PRAGMA query_only = 1").execute(&pool).await.unwrap();
    let reads = db.with(TxOptions::new().read_only(true));
    reads.transaction("reads", async |_tx| Ok::<_, AppError>(())).await.unwrap();
    assert_eq!(settings().await, (before.0, 1));
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

#[tokio::test]
async fn on_a_connection_that_the_caller_holds() {
    let bank = Bank::open("held").await;
    let credit = || Script::new([Step::Credit(1, 5)]);
    bank.db.run_on("SELECT 1", Call::new("held"), credit(), "SELECT 1").await.unwrap();
    let error = bank.db.run_on("BEGIN", Call::new("held"), credit(), "ROLLBACK").await;
    assert_eq!(*error.unwrap_err().ours().kind(), ErrorKind::OpenTransaction);
    assert_eq!(bank.balance_of(1).await, 105);
    bank.assert_free().await;
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
