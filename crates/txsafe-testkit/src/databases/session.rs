use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::names::REGISTRY;

/// The first key of the advisory locks that owners hold: `txsf`.
const OWNERS: i32 = 0x7478_7366;

/// Guards what is set up once: a `txsf` of eight bytes, so it is none of the owners' locks.
const SET_UP: i64 = 0x7478_7366_7365_7475;

/// A session in the registry, and the lock that shows others that it lives.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) owner: i32,
    /// Whether the server spares itself fsync, so that files are copied and dropped at once.
    pub(super) is_fast: bool,
    /// As in `server_version_num`.
    pub(super) version: i32,
}

impl Session {
    /// In the registry of this server; set up if it isn't there.
    pub(super) async fn open(server: &Config, owner: i32) -> Result<Self, tokio_postgres::Error> {
        match Self::in_registry(server, owner).await {
            Err(error) if error.code() == Some(&SqlState::INVALID_CATALOG_NAME) => {
                make_registry(server).await?;
                Self::in_registry(server, owner).await
            }
            opened => opened,
        }
    }

    async fn in_registry(server: &Config, owner: i32) -> Result<Self, tokio_postgres::Error> {
        let mut registry = server.clone();
        registry.dbname(REGISTRY);
        let client = connect(&registry).await?;
        let sql = format!(
            "SELECT pg_advisory_lock({OWNERS}, {owner}), set_config('search_path', '\"$user\"', false), \
             set_config('client_min_messages', 'warning', false), \
             current_setting('fsync'), current_setting('server_version_num')"
        );
        let messages = client.simple_query(&sql).await?;
        let said = said(&messages);
        let is_fast = said.and_then(|row| row.get(3)) == Some("off");
        let version = said.and_then(|row| row.get(4)).and_then(|text| text.parse().ok());
        Ok(Self { client, owner, is_fast, version: version.unwrap_or(0) })
    }

    /// Makes schema and table of this role.
    pub(super) async fn set_up(&self) -> Result<(), tokio_postgres::Error> {
        let sql = format!(
            "BEGIN; SELECT pg_advisory_xact_lock({SET_UP}); {} COMMIT",
            include_str!("../../sql/test_databases.sql")
        );
        self.client.batch_execute(&sql).await
    }
}

/// The first row of an answer to a simple query: one round trip, and a process that has one test has no use for a prepared
/// statement.
pub(super) fn said(messages: &[SimpleQueryMessage]) -> Option<&SimpleQueryRow> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// A fresh key: sessions that live at the same time have different ones.
pub(super) fn new_owner() -> i32 {
    fastrand::i32(1..)
}

/// `text` as a literal, whatever the session's settings are.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

/// SQL: the row has an owner, and no session holds the lock of the column `owner` any more.
pub(super) fn is_ownerless() -> String {
    format!(
        "(owner IS NOT NULL AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND classid = {OWNERS} \
         AND objid = owner::oid \
         AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())))"
    )
}

/// Connects; what is said to the server stops when the client is dropped.
pub(super) async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn make_registry(server: &Config) -> Result<(), tokio_postgres::Error> {
    let client = connect(server).await?;
    let made = client.batch_execute(&format!("CREATE DATABASE {REGISTRY}")).await;
    match made {
        // Roles that come later have a schema of their own in it.
        Ok(()) => {
            client.batch_execute(&format!("GRANT CREATE ON DATABASE {REGISTRY} TO PUBLIC")).await
        }
        Err(error) => match error.code() {
            // Another process was faster.
            Some(&SqlState::DUPLICATE_DATABASE | &SqlState::UNIQUE_VIOLATION) => Ok(()),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_cannot_be_left() {
        assert_eq!(literal("it's"), "E'it''s'");
        assert_eq!(literal(r"\'; DROP TABLE t; --"), r"E'\\''; DROP TABLE t; --'");
    }
}
