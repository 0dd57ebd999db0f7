use std::env;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::builder::PostgresBuilder;
use super::own::OwnServer;
use crate::offload::offload;
use crate::{Error, Schema, url};

/// A PostgreSQL server for tests, started from the machine's own programs.
///
/// Server and data are gone when this value is dropped, which waits for it. They are also gone, a
/// moment later, when the process panics, aborts, is interrupted by Ctrl-C or is killed by SIGKILL;
/// and when the value is a `static`, which Rust never drops.
///
/// # Examples
///
/// ```
/// use txsafe_testkit::Postgres;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Postgres::start().await?;
/// let (client, connection) = tokio_postgres::connect(server.url(), tokio_postgres::NoTls).await?;
/// tokio::spawn(connection);
///
/// let row = client.query_one("SELECT 6 * 7", &[]).await?;
/// assert_eq!(row.get::<_, i32>(0), 42);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Postgres {
    server: Server,
}

#[derive(Debug)]
enum Server {
    // Shared with the threads that async methods block, which may outlive a dropped future.
    Own(Arc<OwnServer>),
    Given { url: String, port: u16 },
}

impl Postgres {
    /// Starts a server with the default options.
    ///
    /// # Errors
    ///
    /// Like [`PostgresBuilder::start`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime; [`start_blocking`](Self::start_blocking) needs none.
    pub async fn start() -> Result<Self, Error> {
        Self::builder().start().await
    }

    /// [`start`](Self::start) for code without a runtime.
    ///
    /// # Errors
    ///
    /// Like [`PostgresBuilder::start`].
    pub fn start_blocking() -> Result<Self, Error> {
        Self::builder().start_blocking()
    }

    /// Options for a server, which is then started by [`PostgresBuilder::start`].
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::new()
    }

    /// The server that all tests of this process share, started when first asked for.
    ///
    /// Where the environment variable `DATABASE_URL` is set, it is the server named there; nothing is
    /// started or stopped then. Take a [`schema`](Self::schema) of it rather than work in its
    /// database directly.
    ///
    /// # Errors
    ///
    /// Like [`PostgresBuilder::start`], or when `DATABASE_URL` is not a URL of PostgreSQL.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime; [`shared_blocking`](Self::shared_blocking) needs none.
    pub async fn shared() -> Result<&'static Self, Error> {
        offload(Self::shared_blocking).await
    }

    /// [`shared`](Self::shared) for code without a runtime.
    ///
    /// # Errors
    ///
    /// Like [`shared`](Self::shared).
    pub fn shared_blocking() -> Result<&'static Self, Error> {
        static SHARED: OnceLock<Result<Postgres, Error>> = OnceLock::new();
        SHARED
            .get_or_init(|| match env::var("DATABASE_URL") {
                Ok(url) if !url.is_empty() => Self::given(url),
                _ => Self::start_blocking(),
            })
            .as_ref()
            .map_err(Error::clone)
    }

    /// Where to connect, as superuser `postgres` to the database `postgres`, without a password.
    ///
    /// TCP on 127.0.0.1, unless that was [turned off](PostgresBuilder::tcp). Of a server given by
    /// `DATABASE_URL` it is that URL.
    #[must_use]
    pub fn url(&self) -> &str {
        match &self.server {
            Server::Own(server) => server.url(),
            Server::Given { url, .. } => url,
        }
    }

    /// Like [`url`](Self::url), through the server's Unix socket.
    ///
    /// # Errors
    ///
    /// When the server is [not ours](Error::is_not_our_server).
    pub fn socket_url(&self) -> Result<&str, Error> {
        Ok(self.ours("socket_url")?.socket_url())
    }

    /// The port the server listens on; also a part of the socket's name.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.server {
            Server::Own(server) => server.port(),
            Server::Given { port, .. } => *port,
        }
    }

    /// The folder with the server's data (`PGDATA`).
    ///
    /// # Errors
    ///
    /// When the server is [not ours](Error::is_not_our_server).
    pub fn data_dir(&self) -> Result<&Path, Error> {
        Ok(self.ours("data_dir")?.data_dir())
    }

    /// Creates a schema of a test's own, whose name starts with `txsafe_` and `hint`.
    ///
    /// # Errors
    ///
    /// When the server can't be reached without TLS, or does not let this user create schemas.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime; [`schema_blocking`](Self::schema_blocking) needs none.
    pub async fn schema(&self, hint: &str) -> Result<Schema, Error> {
        let (url, hint) = (self.url().to_owned(), hint.to_owned());
        offload(move || Schema::create(&url, &hint)).await
    }

    /// [`schema`](Self::schema) for code without a runtime.
    ///
    /// # Errors
    ///
    /// Like [`schema`](Self::schema).
    pub fn schema_blocking(&self, hint: &str) -> Result<Schema, Error> {
        Schema::create(self.url(), hint)
    }

    /// Ends the server as a crash would: sessions are cut, nothing is flushed.
    ///
    /// Data and port stay, and [`restart`](Self::restart) recovers. A stopped server stays stopped.
    ///
    /// # Errors
    ///
    /// When the server is [not ours](Error::is_not_our_server), or does not end.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime; [`stop_immediately_blocking`](Self::stop_immediately_blocking)
    /// needs none.
    pub async fn stop_immediately(&self) -> Result<(), Error> {
        let server = Arc::clone(self.ours("stop_immediately")?);
        offload(move || server.stop_immediately()).await
    }

    /// [`stop_immediately`](Self::stop_immediately) for code without a runtime.
    ///
    /// # Errors
    ///
    /// Like [`stop_immediately`](Self::stop_immediately).
    pub fn stop_immediately_blocking(&self) -> Result<(), Error> {
        self.ours("stop_immediately_blocking")?.stop_immediately()
    }

    /// Starts the server anew on the same data and port; one that still runs is shut down in order
    /// first, which ends its sessions.
    ///
    /// # Errors
    ///
    /// When the server is [not ours](Error::is_not_our_server), does not end, or does not start, for
    /// example because somebody else took its port meanwhile.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime; [`restart_blocking`](Self::restart_blocking) needs none.
    pub async fn restart(&self) -> Result<(), Error> {
        let server = Arc::clone(self.ours("restart")?);
        offload(move || server.restart()).await
    }

    /// [`restart`](Self::restart) for code without a runtime.
    ///
    /// # Errors
    ///
    /// Like [`restart`](Self::restart).
    pub fn restart_blocking(&self) -> Result<(), Error> {
        self.ours("restart_blocking")?.restart()
    }

    /// Kills the backend `pid` with SIGKILL, as the kernel does when memory runs out.
    ///
    /// **The server then cuts all other sessions too** and recovers by itself, because the dead
    /// backend may have left shared memory in disorder.
    ///
    /// # Errors
    ///
    /// When the server is [not ours](Error::is_not_our_server), or `pid` is not one of its processes:
    /// nobody else's process is ever killed.
    pub fn kill_backend(&self, pid: i32) -> Result<(), Error> {
        self.ours("kill_backend")?.kill_backend(pid)
    }

    pub(crate) fn own(server: OwnServer) -> Self {
        Self { server: Server::Own(Arc::new(server)) }
    }

    fn given(url: String) -> Result<Self, Error> {
        let config = url::parsed(&url)?;
        let port = config.get_ports().first().copied().unwrap_or(5432);
        Ok(Self { server: Server::Given { url, port } })
    }

    fn ours(&self, method: &str) -> Result<&Arc<OwnServer>, Error> {
        match &self.server {
            Server::Own(server) => Ok(server),
            Server::Given { .. } => Err(Error::not_our_server(method)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_server_is_used_but_never_touched() {
        let server = Postgres::given("postgres://me@db.example:6000/app".to_owned()).unwrap();
        assert_eq!(server.url(), "postgres://me@db.example:6000/app");
        assert_eq!(server.port(), 6000);
        let error = server.restart_blocking().unwrap_err();
        assert!(error.is_not_our_server());
        assert!(error.to_string().contains("unset DATABASE_URL"), "{error}");
    }

    #[test]
    fn a_bad_url_is_not_repeated_in_the_message() {
        let error = Postgres::given("mysql://me:secret@db/app".to_owned()).unwrap_err();
        assert!(!format!("{error:?}").contains("secret"));
    }
}
