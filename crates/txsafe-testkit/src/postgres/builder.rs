use super::cluster::Cluster;
use super::own::OwnServer;
use super::server::Postgres;
use super::settings::Settings;
use crate::Error;
use crate::offload::offload;

/// Options of a throw-away server; made by [`Postgres::builder`].
///
/// # Examples
///
/// ```
/// use txsafe_testkit::Postgres;
///
/// let server = Postgres::builder()
///     .setting("deadlock_timeout", "200ms")
///     .setting("max_connections", "20")
///     .start_blocking()?;
/// assert!(server.url().contains("127.0.0.1"));
/// # Ok::<(), txsafe_testkit::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start` is called"]
pub struct PostgresBuilder {
    locale: Option<String>,
    settings: Settings,
    tcp: bool,
    durable: bool,
}

impl PostgresBuilder {
    pub(crate) fn new() -> Self {
        Self { locale: None, settings: Settings::default(), tcp: true, durable: false }
    }

    /// The language of the server's messages (`lc_messages`), such as `de_DE.UTF-8`. Default: `C`,
    /// which is English.
    ///
    /// A locale that is not installed is compiled for this server alone, where the system has its
    /// definition (Debian: package `locales`). The translations come with the server's package. Some
    /// packages and container images leave them out; then another PostgreSQL of this machine that has
    /// them is taken, even where `TXSAFE_PG_BIN` names the one without, and standard error says which.
    /// In a language that PostgreSQL isn't translated to, such as Finnish, messages are English.
    pub fn locale(mut self, lc_messages: impl Into<String>) -> Self {
        self.locale = Some(lc_messages.into());
        self
    }

    /// A line of `postgresql.conf`; wins over every default, and a later one wins over an earlier one.
    ///
    /// `ALTER SYSTEM` still wins over it. The addresses, the port and the folder of the socket can't
    /// be set this way.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.set(name, value);
        self
    }

    /// Whether the server listens on 127.0.0.1. Default: `true`.
    ///
    /// **Over TCP, everybody on this machine can log in as superuser.** With `false` the only way in
    /// is the socket, in a folder closed to other users, and [`Postgres::url`] leads there.
    pub fn tcp(mut self, tcp: bool) -> Self {
        self.tcp = tcp;
        self
    }

    /// Whether data survives a power failure. Default: `false`: a throw-away server needs no `fsync`
    /// and no full-page writes.
    ///
    /// Either way, committed data survives [`Postgres::stop_immediately`] and
    /// [`Postgres::kill_backend`], as the operating system goes on. Benchmarks want `true`, to measure
    /// what production pays.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Starts the server and waits until it takes connections.
    ///
    /// # Errors
    ///
    /// When PostgreSQL 14 or newer is not installed, when a setting or the locale is refused, when no
    /// PostgreSQL of this machine has its messages in the [locale's](Self::locale) language, or when the
    /// machine lacks room. The message carries the end of the server's log.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime; [`start_blocking`](Self::start_blocking) needs none.
    pub async fn start(self) -> Result<Postgres, Error> {
        offload(move || self.start_blocking()).await
    }

    /// [`start`](Self::start) for code without a runtime.
    ///
    /// # Errors
    ///
    /// Like [`start`](Self::start).
    pub fn start_blocking(self) -> Result<Postgres, Error> {
        let cluster = Cluster::create(self.locale.as_deref())?;
        let mut settings = self.defaults();
        if let Some(name) = &self.locale {
            settings.set("lc_messages", name);
        }
        cluster.configure(&(settings.render()? + &self.settings.render()?))?;
        Ok(Postgres::own(OwnServer::start(cluster, self.tcp)?))
    }

    fn defaults(&self) -> Settings {
        let mut settings = Settings::default();
        // initdb settles for fewer where the machine has little shared memory.
        settings.set("max_connections", "100");
        if !self.durable {
            settings.set("fsync", "off");
            settings.set("full_page_writes", "off");
            // Stays on: with `off`, a crash of the server would lose transactions it reported as
            // committed, and tests are about exactly that.
            settings.set("synchronous_commit", "on");
        }
        settings
    }
}
