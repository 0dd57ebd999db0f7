//! The server that is measured on, and a schema of our own in it.

use crate::{Result, work::runtime};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{env, path::Path};
use tokio_postgres::{Config, config::Host};
use txsafe_testkit::{Postgres, Schema};

/// Rows of the table; ids start at 1.
pub(crate) const ROWS: i32 = 20;

/// What a URL can't hold as it is. Source: RFC 3986, section 2.3, "Unreserved Characters".
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Never vacuumed in the midst of a measurement, and with room for updates on the same page, so that rounds are alike.
const TABLE: &str = "\
    CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL)
        WITH (fillfactor = 10, autovacuum_enabled = off);
    INSERT INTO accounts SELECT id, 0 FROM generate_series(1, 20) AS id;
    CREATE TABLE seats (id bigint PRIMARY KEY, guest text NOT NULL)
        WITH (fillfactor = 10, autovacuum_enabled = off);
    INSERT INTO seats SELECT id, 'guest ' || id FROM generate_series(1, 10000) AS id;
    ANALYZE seats";

/// The server that is measured on.
#[derive(Debug)]
pub(crate) struct Ground {
    // Declared before the server, so that it is dropped while that still runs.
    _schema: Schema,
    _own: Option<Postgres>,
    config: Config,
    socket: Option<Config>,
}

impl Ground {
    /// The server that DATABASE_URL names, or a private one with the server's defaults; with a schema and a table.
    pub(crate) fn prepare() -> Result<Self> {
        let is_given = env::var_os("DATABASE_URL").is_some_and(|url| !url.is_empty());
        let ground = if is_given {
            let schema = Postgres::shared_blocking()?.schema_blocking("bench")?;
            Self { config: schema.url().parse()?, socket: None, _schema: schema, _own: None }
        } else {
            let own = Postgres::builder().durable(true).start_blocking()?;
            let schema = own.schema_blocking("bench")?;
            let socket = Some(own.socket_url()?.parse()?);
            Self { config: schema.url().parse()?, socket, _schema: schema, _own: Some(own) }
        };
        runtime()?.block_on(async {
            let mut conn = AsyncPgConnection::establish(&ground.tcp()).await?;
            conn.batch_execute(TABLE).await?;
            Ok(ground)
        })
    }

    /// Where to connect as the server's URL says.
    pub(crate) fn tcp(&self) -> String {
        self.at(&self.config, "")
    }

    /// Where to connect through the server's Unix socket; where that isn't known, the same as [`tcp`](Self::tcp).
    pub(crate) fn socket(&self) -> String {
        self.at(self.socket.as_ref().unwrap_or(&self.config), "")
    }

    /// Like [`socket`](Self::socket), by sessions that don't wait for the disk.
    pub(crate) fn socket_unsynced(&self) -> String {
        self.at(self.socket.as_ref().unwrap_or(&self.config), " -c synchronous_commit=off")
    }

    /// Where to connect through a relay that listens on this port of 127.0.0.1. libpq would begin with a request for TLS,
    /// whose answer is no message that the relay could read.
    pub(crate) fn through(&self, port: u16) -> String {
        self.describe("127.0.0.1", port, "") + "&sslmode=disable"
    }

    /// Host and port of the server, for a relay.
    pub(crate) fn address(&self) -> Result<(String, u16)> {
        match first_host(&self.config) {
            (Some(Host::Tcp(host)), port) => Ok((host.clone(), port)),
            _ => Err("the relay needs TCP: give a DATABASE_URL with a host name".into()),
        }
    }

    fn at(&self, place: &Config, options: &str) -> String {
        match first_host(place) {
            (Some(Host::Tcp(host)), port) => self.describe(host, port, options),
            (Some(Host::Unix(path)), port) => self.describe(&text(path), port, options),
            (None, port) => self.describe("127.0.0.1", port, options),
        }
    }

    /// A URL with our user, database and schema: the one form that all drivers read.
    fn describe(&self, host: &str, port: u16, options: &str) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
        let user = encoded(self.config.get_user().unwrap_or_default());
        let password = self.config.get_password().map(String::from_utf8_lossy);
        let password = password.map(|password| format!(":{}", encoded(&password)));
        let options = self.config.get_options().unwrap_or_default().to_owned() + options;
        format!(
            "postgres://{user}{}@{}:{port}/{}?options={}",
            password.unwrap_or_default(),
            encoded(host),
            encoded(self.config.get_dbname().unwrap_or_default()),
            encoded(&options),
        )
    }
}

fn first_host(config: &Config) -> (Option<&Host>, u16) {
    (config.get_hosts().first(), config.get_ports().first().copied().unwrap_or(5432))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
