//! The shop's tables, and the schema they live in.

use std::time::Duration;

use deadpool::managed::Manager as _;
use diesel::{QueryableByName, sql_query, sql_types::Text};
use diesel_async::{
    AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _, pooled_connection::PoolError,
};

use crate::error::Error;

/// How many there are of each; `schema.sql` creates them, numbered from 1.
pub(crate) const ACCOUNTS: i32 = 100;
pub(crate) const USERS: i32 = 40;
pub(crate) const ORDERS: i32 = 120;
pub(crate) const ITEMS: i32 = 100;
pub(crate) const ORGANIZATIONS: i32 = 8;

diesel::table! {
    accounts (id) {
        id -> Integer,
        balance -> BigInt,
    }
}

diesel::table! {
    users (id) {
        id -> Integer,
        address_version -> Integer,
        shipments -> Integer,
    }
}

diesel::table! {
    orders (id) {
        id -> Integer,
        user_id -> Integer,
        address_version -> Integer,
        shipments -> Integer,
    }
}

diesel::table! {
    inventory (item) {
        item -> Integer,
        available -> Integer,
    }
}

diesel::table! {
    reservations (operation, item) {
        operation -> BigInt,
        item -> Integer,
        quantity -> Integer,
    }
}

diesel::table! {
    organizations (id) {
        id -> Integer,
        last_incident -> Integer,
    }
}

diesel::table! {
    incidents (organization, number) {
        organization -> Integer,
        number -> Integer,
        operation -> BigInt,
    }
}

diesel::table! {
    ledger (operation) {
        operation -> BigInt,
        handler -> Text,
        subject -> Integer,
        object -> Integer,
        amount -> BigInt,
    }
}

/// A schema of the demo's own on somebody's server.
#[derive(Debug)]
pub(crate) struct Shop {
    server_url: String,
    schema: String,
    url: String,
}

impl Shop {
    /// Names a schema; nothing is created yet.
    pub(crate) fn new(server_url: &str) -> Self {
        let random: String =
            std::iter::repeat_with(|| fastrand::char('a'..='z')).take(10).collect();
        let schema = format!("txsafe_demo_{random}");
        let url = with_search_path(server_url, &schema);
        Self { server_url: server_url.to_owned(), schema, url }
    }

    /// Sessions that connect to this URL find the shop's tables.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether the server can be used at all.
    pub(crate) async fn find_server(&self) -> Result<(), Error> {
        connect(&self.server_url).await.map(drop).map_err(Error::Unreachable)
    }

    /// Creates the tables and their data, anew.
    pub(crate) async fn stock(&self) -> Result<(), Error> {
        const DOING: &str = "create its tables";
        let mut conn = self.connect(DOING).await?;
        let sql =
            format!("CREATE SCHEMA IF NOT EXISTS {};\n{}", self.schema, include_str!("schema.sql"));
        conn.batch_execute(&sql).await.map_err(refused(DOING))
    }

    /// A connection that finds the shop's tables, to be used for `doing`.
    pub(crate) async fn connect(&self, doing: &'static str) -> Result<AsyncPgConnection, Error> {
        connect(&self.url).await.map_err(|message| Error::Refused { doing, message })
    }

    /// How long the server waits before it looks for a deadlock, in its own words.
    pub(crate) async fn deadlock_timeout(&self) -> Result<String, Error> {
        #[derive(QueryableByName)]
        struct Setting {
            #[diesel(sql_type = Text)]
            deadlock_timeout: String,
        }
        const DOING: &str = "ask for its settings";
        let mut conn = self.connect(DOING).await?;
        let setting: Setting = sql_query("SHOW deadlock_timeout")
            .get_result(&mut conn)
            .await
            .map_err(refused(DOING))?;
        Ok(setting.deadlock_timeout)
    }

    /// Drops the schema. Sessions that are still busy in it are ours, left over from an interrupted run, and are ended.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        let left_behind = |message| Error::LeftBehind { schema: self.schema.clone(), message };
        let mut conn = connect(&self.server_url).await.map_err(left_behind)?;
        let schema = &self.schema;
        let sql = format!(
            "SET lock_timeout = '5s';
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND pid IN (
                 SELECT l.pid FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                 JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = '{schema}' AND l.database = (
                     SELECT oid FROM pg_database WHERE datname = current_database()));
             DROP SCHEMA IF EXISTS {schema} CASCADE"
        );
        conn.batch_execute(&sql).await.map_err(|error| left_behind(error.to_string()))
    }
}

/// An error of the database, as one that ends the demo.
pub(crate) fn refused(doing: &'static str) -> impl Fn(diesel::result::Error) -> Error {
    move |error| Error::Refused { doing, message: error.to_string() }
}

/// Connects by txsafe's manager, which says why it can't.
async fn connect(url: &str) -> Result<AsyncPgConnection, String> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let manager = txsafe_diesel::manager(url);
    match tokio::time::timeout(PATIENCE, manager.create()).await {
        Ok(Ok(conn)) => Ok(conn),
        Ok(Err(PoolError::ConnectionError(error))) => Err(error.to_string()),
        Ok(Err(error @ PoolError::QueryError(_))) => Err(error.to_string()),
        Err(_elapsed) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// `url` with `search_path` set for every session. PostgreSQL heeds the last of several settings, so ours comes last.
fn with_search_path(url: &str, schema: &str) -> String {
    let option = format!("-c%20search_path%3D{schema}");
    let Some((address, query)) = url.split_once('?') else {
        return format!("{url}?options={option}");
    };
    let (options, mut others): (Vec<&str>, Vec<&str>) = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .partition(|parameter| parameter.starts_with("options="));
    let options = match options.last() {
        Some(theirs) => format!("{theirs}%20{option}"),
        None => format!("options={option}"),
    };
    others.push(&options);
    format!("{address}?{}", others.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_else_the_url_says_stays() {
        for (url, expected) in [
            ("postgres://db/app", "postgres://db/app?options=-c%20search_path%3Ds"),
            (
                "postgres://db/app?connect_timeout=3",
                "postgres://db/app?connect_timeout=3&options=-c%20search_path%3Ds",
            ),
            (
                "postgres://db/app?options=-c%20geqo%3Doff&connect_timeout=3",
                "postgres://db/app?connect_timeout=3&options=-c%20geqo%3Doff%20-c%20search_path%3Ds",
            ),
        ] {
            assert_eq!(with_search_path(url, "s"), expected);
        }
    }

    #[test]
    fn the_numbers_are_those_of_the_schema() {
        let sql = include_str!("schema.sql");
        for series in [
            format!("FROM generate_series(1, {ACCOUNTS}) AS id"),
            format!("users (id) SELECT generate_series(1, {USERS})"),
            format!("1 + id % {USERS} FROM generate_series(1, {ORDERS}) AS id"),
            format!("FROM generate_series(1, {ITEMS}) AS item"),
            format!("organizations (id) SELECT generate_series(1, {ORGANIZATIONS})"),
        ] {
            assert!(sql.contains(&series), "{series}");
        }
    }
}
