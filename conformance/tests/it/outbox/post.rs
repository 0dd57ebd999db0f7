//! A post office: the table of the outbox in a schema of its own, and somebody who looks into it and can turn its clock.

use diesel::{
    PgConnection,
    r2d2::{self, ConnectionManager},
};
use diesel_async::{AsyncPgConnection, pooled_connection::deadpool::Pool};
use std::time::{Duration, SystemTime};
use tokio_postgres::{Client, NoTls};
use txsafe_testkit::{Postgres, Schema};

/// The post office.
pub(crate) struct Post {
    watcher: Client,
    schema: Schema,
}

/// What is to be seen of a message: its key, attempts, whether somebody has it, and what it failed with last.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) key: String,
    pub(crate) attempts: i32,
    pub(crate) is_leased: bool,
    pub(crate) error: Option<String>,
}

impl Post {
    pub(crate) async fn open(name: &str) -> Self {
        Self::on(Postgres::shared().await.unwrap(), name).await
    }

    pub(crate) async fn on(server: &Postgres, name: &str) -> Self {
        let post = Self::without_a_table(server, name).await;
        post.execute(txsafe::OUTBOX_SQL).await;
        // A migration that runs twice does no harm.
        post.execute(txsafe::OUTBOX_SQL).await;
        post
    }

    /// One where the migration was forgotten.
    pub(crate) async fn without_a_table(server: &Postgres, name: &str) -> Self {
        // A test that fails shows what its workers warned of.
        let _ = tracing_subscriber::fmt()
            .with_test_writer()
            .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
            .try_init();
        let schema = server.schema(name).await.unwrap();
        Self { watcher: connect(schema.url()).await.unwrap(), schema }
    }

    pub(crate) fn url(&self) -> &str {
        self.schema.url()
    }

    /// Watches anew, after the server was restarted.
    pub(crate) async fn watch_again(&mut self) {
        loop {
            if let Ok(watcher) = connect(self.schema.url()).await {
                self.watcher = watcher;
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.watcher.batch_execute(sql).await.unwrap();
    }

    /// The one number that a query answers.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.watcher.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Whether there is one message, and it fulfils this condition.
    pub(crate) async fn has_one(&self, condition: &str) -> bool {
        let all = format!("SELECT count(*), bool_and({condition}) AS fulfil FROM txsafe_outbox");
        self.count(&format!(
            "SELECT count(*) FROM ({all}) AS all_of_them WHERE count = 1 AND fulfil"
        ))
        .await
            == 1
    }

    /// The state of the one thing there is.
    pub(crate) async fn state(&self) -> String {
        self.watcher.query_one("SELECT state FROM things", &[]).await.unwrap().get(0)
    }

    /// Has every statement of this transaction stop after it took its snapshot, at the rows of the outbox, until
    /// [`go_on`](Self::go_on).
    pub(crate) async fn stop_at_rows(&self, transaction: &str) {
        self.execute(&format!(
            "ALTER TABLE txsafe_outbox RENAME TO outbox_rows;
             CREATE FUNCTION go_on() RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN
                 IF current_setting('application_name') LIKE '%{transaction}' THEN
                     PERFORM pg_advisory_xact_lock_shared(hashtext(current_schema));
                 END IF;
                 RETURN true;
             END $$;
             CREATE VIEW txsafe_outbox AS SELECT * FROM outbox_rows WHERE go_on();
"
        ))
        .await;
        self.stop_again().await;
    }

    /// Returns once the transactions that [`go_on`](Self::go_on) let through are over, and has the next ones stop.
    pub(crate) async fn stop_again(&self) {
        self.execute("SELECT pg_advisory_lock(hashtext(current_schema))").await;
    }

    /// See [`stop_at_rows`](Self::stop_at_rows).
    pub(crate) async fn go_on(&self) {
        self.execute("SELECT pg_advisory_unlock(hashtext(current_schema))").await;
    }

    /// Leases end, and pauses.
    pub(crate) async fn make_all_due(&self) {
        self.execute("UPDATE txsafe_outbox SET due_at = now() WHERE dead_at IS NULL").await;
    }

    /// Returns once the leases of now would have ended, and `more` has passed since then, by the server's clock.
    pub(crate) async fn until_leases_would_have_ended(&self, more: Duration) {
        self.until_due(more.as_secs_f64()).await;
    }

    /// Returns once the leases of now end so soon, if they aren't renewed.
    pub(crate) async fn until_leases_end_in(&self, rest: Duration) {
        self.until_due(-rest.as_secs_f64()).await;
    }

    async fn until_due(&self, seconds_later: f64) {
        let sql = "SELECT max(due_at) + $1 * interval '1 s' FROM txsafe_outbox";
        let then = self.watcher.query_one(sql, &[&seconds_later]).await.unwrap();
        let then: SystemTime = then.get(0);
        let is_over = async || {
            let row = self.watcher.query_one("SELECT clock_timestamp() > $1", &[&then]).await;
            row.unwrap().get(0)
        };
        while !is_over().await {}
    }

    /// Returns once somebody waits for what the watcher has locked.
    pub(crate) async fn until_somebody_waits(&self) {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))";
        while self.count(waits).await == 0 {}
    }

    /// The messages of a topic, by their keys.
    pub(crate) async fn seen(&self, topic: &str) -> Vec<Seen> {
        let sql = "SELECT key, attempts, lease IS NOT NULL, last_error FROM txsafe_outbox WHERE topic = $1 ORDER BY key";
        let rows = self.watcher.query(sql, &[&topic]).await.unwrap();
        rows.iter()
            .map(|row| Seen {
                key: row.get(0),
                attempts: row.get(1),
                is_leased: row.get(2),
                error: row.get(3),
            })
            .collect()
    }

    /// Returns once the topic has no messages any more.
    pub(crate) async fn until_empty(&self, topic: &str) {
        while !self.seen(topic).await.is_empty() {}
    }
}

/// A pool of diesel-async connections.
pub(crate) fn diesel_pool(url: &str) -> Pool<AsyncPgConnection> {
    diesel_pool_of(6, url)
}

/// One of so many connections.
pub(crate) fn diesel_pool_of(connections: usize, url: &str) -> Pool<AsyncPgConnection> {
    Pool::builder(txsafe_diesel::manager(url)).max_size(connections).build().unwrap()
}

/// A pool of SQLx's connections.
pub(crate) fn sqlx_pool(url: &str) -> sqlx::PgPool {
    sqlx_pool_of(6, url)
}

/// One of so many connections.
pub(crate) fn sqlx_pool_of(connections: u32, url: &str) -> sqlx::PgPool {
    sqlx::postgres::PgPoolOptions::new().max_connections(connections).connect_lazy(url).unwrap()
}

/// A pool of Diesel's blocking connections.
pub(crate) fn blocking_pool(url: &str) -> r2d2::Pool<ConnectionManager<PgConnection>> {
    let pool = r2d2::Pool::builder().max_size(6).min_idle(Some(0));
    pool.build(ConnectionManager::new(url)).unwrap()
}

pub(crate) async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
