//! A bank in a file, and who else opens that.

use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection, query_scalar};
use std::{fs, path::PathBuf, sync::Arc, time::Duration};
use txsafe_conformance::{
    drivers::{Call, Database, Reports, Setup, open_sqlite},
    error::AppError,
    script::Script,
};
use txsafe_sqlx::sqlite;

const TABLES: &str = "
    CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0));
    INSERT INTO accounts VALUES (1, 100), (2, 100), (3, 100);
    CREATE TABLE orders (account INTEGER REFERENCES accounts (id) DEFERRABLE INITIALLY DEFERRED);
";

/// Violates a constraint; SQLite's transaction goes on.
pub(super) const DUPLICATE: &str = "INSERT INTO accounts VALUES (1, 0)";
/// The same, and SQLite rolls the transaction back with it.
pub(super) const DUPLICATE_ENDS: &str = "INSERT OR ROLLBACK INTO accounts VALUES (1, 0)";

pub(super) const MS: Duration = Duration::from_millis(1);

/// A bank in a file, and somebody who looks into it.
pub(super) struct Bank {
    pub(super) url: String,
    file: PathBuf,
    pub(super) db: Arc<dyn Database>,
    pub(super) reports: Reports,
}

impl Bank {
    pub(super) async fn open(name: &str) -> Self {
        Self::in_mode(name, "WAL").await
    }

    pub(super) async fn in_mode(name: &str, journal: &str) -> Self {
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
    pub(super) async fn connect(&self) -> SqliteConnection {
        let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
        conn.execute("PRAGMA busy_timeout = 10000").await.unwrap();
        conn
    }

    pub(super) async fn balance_of(&self, id: i32) -> i64 {
        let balance = query_scalar("SELECT balance FROM accounts WHERE id = $1").bind(id);
        balance.fetch_one(&mut self.connect().await).await.unwrap()
    }

    pub(super) async fn run(&self, name: &'static str, script: &Script) -> Result<(), AppError> {
        self.db.run(Call::new(name), script.clone()).await.map(drop)
    }

    /// Nothing is left open: the next writer gets the lock.
    pub(super) async fn assert_free(&self) {
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
