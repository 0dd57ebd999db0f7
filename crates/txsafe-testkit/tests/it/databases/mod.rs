//! A database for each test.

mod leftovers;
mod making;
mod trouble;

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_postgres::Client;
use txsafe_testkit::{Postgres, TestDatabases};

use crate::database::connect;

/// As many tables as a small service has.
const TABLES: usize = 20;

/// A suite that no other test has, and migrations that count how often they ran.
struct Suite {
    name: String,
    server: String,
    runs: Arc<AtomicUsize>,
}

impl Suite {
    /// On the server that all tests share.
    async fn shared() -> Self {
        Self::on(Postgres::shared().await.unwrap())
    }

    fn on(server: &Postgres) -> Self {
        let random: String = iter::repeat_with(|| fastrand::char('a'..='z')).take(8).collect();
        Self {
            name: format!("shop_{random}"),
            server: server.url().to_owned(),
            runs: Arc::default(),
        }
    }

    /// Its databases, as another process would describe them; `version` stands for what the migrations say.
    fn databases(&self, version: &str, ahead: usize) -> TestDatabases {
        let runs = Arc::clone(&self.runs);
        let builder = TestDatabases::builder(&self.name).fingerprint([version]).ahead(ahead);
        builder.server(&self.server).migrate(move |url| {
            runs.fetch_add(1, Ordering::Relaxed);
            migrate(url)
        })
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::Relaxed)
    }

    /// Where its databases are written down.
    async fn registry(&self) -> Client {
        connect(&url_of(&self.server, "txsafe_tests")).await.unwrap()
    }

    /// Names of its databases in this state, once `is_right` likes them.
    async fn in_state(&self, state: &str, is_right: impl Fn(&[String]) -> bool) -> Vec<String> {
        let registry = self.registry().await;
        loop {
            let sql = "SELECT name FROM databases WHERE suite = $1 AND state = $2 ORDER BY used_at";
            let rows = registry.query(sql, &[&self.name, &state]).await.unwrap();
            let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            if is_right(&names) {
                return names;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn template(&self) -> String {
        self.in_state("template", |templates| templates.len() == 1).await.remove(0)
    }

    async fn exists(&self, name: &str) -> bool {
        is_there(&connect(&self.server).await.unwrap(), name).await
    }

    /// Returns once no database is called so.
    async fn is_gone(&self, name: &str) {
        let client = connect(&self.server).await.unwrap();
        while is_there(&client, name).await {
            tokio::task::yield_now().await;
        }
    }
}

async fn migrate(url: String) -> Result<(), tokio_postgres::Error> {
    let client = connect(&url).await?;
    for table in 0..TABLES {
        let sql = format!(
            "CREATE TABLE t{table} (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, n int);
             CREATE INDEX ON t{table} (n)"
        );
        client.batch_execute(&sql).await?;
    }
    Ok(())
}

/// The URL of another database on the server.
fn url_of(server: &str, database: &str) -> String {
    format!("{}/{database}", server.rsplit_once('/').unwrap().0)
}

async fn is_there(client: &Client, name: &str) -> bool {
    let sql = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
    client.query_one(sql, &[&name]).await.unwrap().get(0)
}
