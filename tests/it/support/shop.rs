//! A shop with ten accounts of 100 each.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, pooled_connection::deadpool::Pool};
use std::sync::{Arc, Mutex};
use tokio_postgres::{Client, NoTls};
use txsafe_diesel::{Builder, Database, Error, Report, manager};
use txsafe_testkit::{Postgres, Schema};

diesel::table! {
    accounts (id) {
        id -> Integer,
        balance -> BigInt,
    }
}

const TABLES: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
    INSERT INTO accounts SELECT id, 100 FROM generate_series(1, 10) id;
";

/// What a service makes of errors: those of the database have lost everything that could be looked at.
#[derive(Debug)]
pub(crate) enum AppError {
    Opaque,
    Own(&'static str),
    Txsafe(Error),
}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        Self::Txsafe(error)
    }
}

impl From<diesel::result::Error> for AppError {
    fn from(_: diesel::result::Error) -> Self {
        Self::Opaque
    }
}

impl AppError {
    /// The error of the library.
    #[track_caller]
    pub(crate) fn ours(self) -> Error {
        match self {
            Self::Txsafe(error) => error,
            other => panic!("not an error of txsafe: {other:?}"),
        }
    }
}

/// A helper as services have them, on the driver's own connection type.
pub(crate) async fn credit(
    conn: &mut AsyncPgConnection,
    id: i32,
    amount: i64,
) -> QueryResult<usize> {
    diesel::update(accounts::table.find(id))
        .set(accounts::balance.eq(accounts::balance + amount))
        .execute(conn)
        .await
}

/// A helper that shares the connection, so that several queries can be sent at once.
pub(crate) async fn balance(mut conn: &AsyncPgConnection, id: i32) -> QueryResult<i64> {
    accounts::table.find(id).select(accounts::balance).first(&mut conn).await
}

/// The shop in a schema of its own, its database, and somebody who watches from outside.
pub(crate) struct Shop {
    pub(crate) db: Database,
    pub(crate) watcher: Client,
    pub(crate) url: String,
    name: String,
    reports: Arc<Mutex<Option<Report>>>,
    _schema: Schema,
    _server: Option<Postgres>,
}

impl Shop {
    pub(crate) async fn open(name: &str) -> Self {
        Self::with(name, 4, |builder| builder).await
    }

    /// With a pool of so many connections, and settings.
    pub(crate) async fn with(
        name: &str,
        connections: usize,
        settings: impl FnOnce(Builder<Database>) -> Builder<Database>,
    ) -> Self {
        let server = Postgres::shared().await.unwrap();
        let schema = server.schema(name).await.unwrap();
        Self::in_schema(schema, None, connections, settings).await
    }

    /// On a server of its own.
    pub(crate) async fn on(server: Postgres, name: &str) -> Self {
        let schema = server.schema(name).await.unwrap();
        Self::in_schema(schema, Some(server), 4, |builder| builder).await
    }

    async fn in_schema(
        schema: Schema,
        server: Option<Postgres>,
        connections: usize,
        settings: impl FnOnce(Builder<Database>) -> Builder<Database>,
    ) -> Self {
        let name = schema.name().to_owned();
        let (watcher, connection) = tokio_postgres::connect(schema.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        watcher.batch_execute(TABLES).await.unwrap();
        let separator = if schema.url().contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}application_name={name}", schema.url());
        let reports = Arc::<Mutex<Option<Report>>>::default();
        let hear = Arc::clone(&reports);
        let builder = Database::builder(pool(&url, connections))
            .service(&name)
            .on_report(move |report| *hear.lock().unwrap() = Some(report.clone()));
        let db = settings(builder).build().unwrap();
        Self { db, watcher, url, name, reports, _schema: schema, _server: server }
    }

    /// Takes the last report of its database.
    #[track_caller]
    pub(crate) fn report(&self) -> Report {
        self.reports.lock().unwrap().take().expect("a report")
    }

    /// The same database through another address.
    pub(crate) fn through(&self, port: u16) -> Database {
        self.builder_at(&self.at_port(port)).build().unwrap()
    }

    /// The same database at another URL, with settings to come.
    pub(crate) fn builder_at(&self, url: &str) -> Builder<Database> {
        Database::builder(pool(url, 4)).service(&self.name)
    }

    /// The URL of the same database through another address.
    pub(crate) fn at_port(&self, port: u16) -> String {
        let (front, rest) = self.url.split_once("@127.0.0.1:").expect("a server on loopback");
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{front}@127.0.0.1:{port}{rest}")
    }

    /// The port of the server.
    pub(crate) fn port(&self) -> u16 {
        let config: tokio_postgres::Config = self.url.parse().unwrap();
        config.get_ports()[0]
    }

    pub(crate) async fn balance_of(&self, id: i32) -> i64 {
        let sql = "SELECT balance FROM accounts WHERE id = $1";
        self.watcher.query_one(sql, &[&id]).await.unwrap().get(0)
    }

    /// One number, or whatever the query makes of it.
    pub(crate) async fn ask(&self, sql: &str) -> i64 {
        self.watcher.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// How many of this shop's connections are in a transaction or hold a lock.
    pub(crate) async fn busy(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity a WHERE application_name LIKE $1 || '%'
                   AND pid <> pg_backend_pid()
                   AND (xact_start IS NOT NULL AND state <> 'idle'
                        OR EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid))";
        self.count(sql).await
    }

    /// How many accounts some transaction has written and not yet committed.
    pub(crate) async fn written_rows(&self) -> i64 {
        self.ask("SELECT 10 - count(*) FROM (SELECT FROM accounts FOR UPDATE SKIP LOCKED) free")
            .await
    }

    /// How many of this shop's connections wait for a lock.
    pub(crate) async fn waiting(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE $1 || '%'
                   AND wait_event_type = 'Lock'";
        self.count(sql).await
    }

    /// What is running now, also if the watcher is in a transaction, which would see what it saw first.
    async fn count(&self, sql: &str) -> i64 {
        self.watcher.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
        self.watcher.query_one(sql, &[&self.name]).await.unwrap().get(0)
    }
}

/// A pool of observed connections.
fn pool(url: &str, connections: usize) -> Pool<AsyncPgConnection> {
    Pool::builder(manager(url)).max_size(connections).build().unwrap()
}
