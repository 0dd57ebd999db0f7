//! A shop with ten accounts of 100 each and a ledger, in a schema of its own, and somebody who watches from outside.

use crate::drivers::{Database, Driver, Reports, Setup};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_postgres::{Client, NoTls};
use txsafe::{IDEMPOTENCY_KEYS_SQL, guard::Policy};
use txsafe_testkit::{Postgres, Schema};

mod schema {
    diesel::table! {
        accounts (id) {
            id -> Integer,
            balance -> BigInt,
        }
    }
    diesel::table! {
        counters (id) {
            id -> Integer,
            n -> Integer,
        }
    }
}

pub(crate) use schema::{accounts, counters};

const TABLES: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
    INSERT INTO accounts SELECT id, 100 FROM generate_series(1, 10) id;
    CREATE TABLE ledger (operation bigint NOT NULL);
";

/// The shop.
#[derive(Debug)]
pub struct Shop {
    /// Somebody who watches from outside.
    pub watcher: Client,
    /// Where the shop is.
    pub url: String,
    /// The last report of its databases.
    pub reports: Reports,
    name: String,
    _schema: Schema,
}

impl Shop {
    /// Opens a shop on the shared server.
    ///
    /// # Errors
    /// If no server can be had.
    pub async fn open(name: &str) -> anyhow::Result<Self> {
        Self::on(Postgres::shared().await?, name).await
    }

    /// Opens a shop on this server.
    ///
    /// # Errors
    /// If the server doesn't let it.
    pub async fn on(server: &Postgres, name: &str) -> anyhow::Result<Self> {
        let schema = server.schema(name).await?;
        let watcher = watch(schema.url()).await?;
        watcher.batch_execute(TABLES).await?;
        watcher.batch_execute(IDEMPOTENCY_KEYS_SQL).await?;
        let name = schema.name().to_owned();
        let separator = if schema.url().contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}application_name={name}", schema.url());
        Ok(Self { watcher, url, reports: Reports::default(), name, _schema: schema })
    }

    /// Opens its database with a driver.
    #[must_use]
    pub fn database(&self, driver: Driver) -> Arc<dyn Database> {
        self.guarded(driver, Policy::production())
    }

    /// The same, with a policy for the guard.
    #[must_use]
    pub fn guarded(&self, driver: Driver, guard: Policy) -> Arc<dyn Database> {
        self.open_as(driver, &self.url, 4, guard)
    }

    /// The same at another address, with so many connections.
    #[must_use]
    pub fn database_at(&self, driver: Driver, url: &str, connections: u32) -> Arc<dyn Database> {
        self.open_as(driver, url, connections, Policy::production())
    }

    fn open_as(
        &self,
        driver: Driver,
        url: &str,
        connections: u32,
        guard: Policy,
    ) -> Arc<dyn Database> {
        let setup = Setup { guard, reports: self.reports.clone(), ..Setup::default() };
        driver.open_as(url, connections, &self.name, setup)
    }

    /// Watches anew, after the server was restarted.
    ///
    /// # Errors
    /// If it isn't up.
    pub async fn watch_again(&mut self) -> anyhow::Result<()> {
        self.watcher = watch(&self.url).await?;
        Ok(())
    }

    /// One number, or whatever the query makes of it.
    ///
    /// # Panics
    /// If the server doesn't answer with a number.
    pub async fn ask(&self, sql: &str) -> i64 {
        let row = self.watcher.query_one(sql, &[]).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error}")).get(0)
    }

    /// The balance of an account.
    pub async fn balance_of(&self, id: i32) -> i64 {
        self.ask(&format!("SELECT balance FROM accounts WHERE id = {id}")).await
    }

    /// How many of this shop's connections stay in a transaction or keep a lock. What ends right behind the caller's
    /// answer, as the empty transaction that SQLx's COMMIT leaves, is waited for.
    pub async fn busy(&self) -> i64 {
        let patience = Instant::now() + Duration::from_secs(10);
        loop {
            let busy = self.busy_now().await;
            if busy == 0 || Instant::now() > patience {
                return busy;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn busy_now(&self) -> i64 {
        self.ask(&format!(
            "SELECT count(*) FROM pg_stat_activity a WHERE application_name LIKE '{}%'
             AND pid <> pg_backend_pid()
             AND (xact_start IS NOT NULL AND state <> 'idle'
                  OR EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid))",
            self.name
        ))
        .await
    }

    /// The backends of this shop's connections.
    pub async fn backends(&self) -> Vec<i32> {
        let sql = format!(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE '{}%'
             AND pid <> pg_backend_pid() ORDER BY pid",
            self.name
        );
        let rows = self.watcher.query(&sql, &[]).await;
        rows.unwrap_or_default().iter().map(|row| row.get(0)).collect()
    }

    /// The name of its schema, which is also that of its service.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

async fn watch(url: &str) -> anyhow::Result<Client> {
    let (watcher, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(watcher)
}
