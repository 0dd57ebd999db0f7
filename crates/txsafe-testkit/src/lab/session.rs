//! Sessions of a lab: ports that lead to the server, and the faults that wait there.

use super::{
    fault::{At, Fault},
    locks::LockWatch,
    relay::relay,
};
use crate::{Error, url::percent_encode};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_postgres::{Config, config::Host};
use txsafe::LockGraph;

/// A wire that fails on demand, in front of a server.
///
/// # Examples
/// ```
/// use tokio_postgres::NoTls;
/// use txsafe_testkit::{At, Fault, Lab, Postgres};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let schema = Postgres::shared().await?.schema("lab").await?;
/// let lab = Lab::new(schema.url())?;
/// let shop = lab.session().await?;
/// let (client, connection) = tokio_postgres::connect(shop.url(), NoTls).await?;
/// tokio::spawn(connection);
/// client.batch_execute("CREATE TABLE paid (id int)").await?;
///
/// // The answer to COMMIT gets lost: the client can't know what the server has done.
/// shop.inject(At::Commit, Fault::CutAfterApplied)?;
/// client.batch_execute("BEGIN").await?;
/// client.batch_execute("INSERT INTO paid VALUES (1)").await?;
/// assert!(client.batch_execute("COMMIT").await.unwrap_err().is_closed());
///
/// let (client, connection) = tokio_postgres::connect(shop.url(), NoTls).await?;
/// tokio::spawn(connection);
/// let paid: i64 = client.query_one("SELECT count(*) FROM paid", &[]).await?.get(0);
/// assert_eq!((paid, shop.injected(), shop.waiting()), (1, 1, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Lab {
    server: Arc<Config>,
    graph: Option<LockGraph>,
}

impl Lab {
    /// A lab in front of the server, and the schema, that `url` names. Nothing is connected yet.
    ///
    /// # Errors
    /// If `url` is none of PostgreSQL, or names no host.
    pub fn new(url: &str) -> Result<Self, Error> {
        let server: Config = url.parse().map_err(|source| {
            Error::caused("the lab needs the URL of a PostgreSQL server", source)
        })?;
        if server.get_hosts().is_empty() {
            return Err(Error::new("the lab needs a URL that names a host"));
        }
        Ok(Self { server: Arc::new(server), graph: None })
    }

    /// Tells `graph` which tables the transactions of all sessions lock that are opened from now on, as the server itself
    /// says after each statement. So the graph learns what no text of a statement shows: foreign keys, triggers, cascades.
    ///
    /// For that, what clients pipeline reaches the server one unit after the other. The README tells what isn't seen.
    #[must_use]
    pub fn watch_locks(self, graph: &LockGraph) -> Self {
        Self { graph: Some(graph.clone()), ..self }
    }

    /// Opens a session: a port on 127.0.0.1 that leads to the server until the session is dropped.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn session(&self) -> Result<LabSession, Error> {
        let no_port = |source| Error::caused("the lab can't listen on 127.0.0.1", source);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(no_port)?;
        let port = listener.local_addr().map_err(no_port)?.port();
        let faults = Arc::<Faults>::default();
        let accepting = tokio::spawn(accept(listener, self.clone(), Arc::clone(&faults)));
        Ok(LabSession { url: url_through(&self.server, port), port, faults, accepting })
    }
}

/// A session of a [`Lab`]: code that connects to its [`url`](Self::url) meets its faults. Any number of connections
/// may be open; dropping the session breaks them.
#[derive(Debug)]
pub struct LabSession {
    url: String,
    port: u16,
    faults: Arc<Faults>,
    accepting: JoinHandle<()>,
}

impl LabSession {
    /// Where to connect, without TLS. Everything else is as in the lab's own URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets `fault` strike once, at the next unit that is `at`. Faults for the same place strike in the order in which
    /// they were injected.
    ///
    /// # Errors
    /// If the SQLSTATE of a fault isn't one: five digits or capital letters.
    pub fn inject(&self, at: At, fault: Fault) -> Result<(), Error> {
        if let Fault::Raise(code) | Fault::Fatal(code) = &fault
            && !(code.len() == 5
                && code.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()))
        {
            return Err(Error::new(format!(
                "{code:?} is no SQLSTATE: five digits or capital letters, such as \"40001\""
            )));
        }
        self.faults.waiting().push_back((at, fault));
        Ok(())
    }

    /// How many faults have struck.
    #[must_use]
    pub fn injected(&self) -> u32 {
        self.faults.struck.load(Ordering::Relaxed)
    }

    /// How many faults still wait for their unit. A test asks this at its end: a fault that never struck proves nothing.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.faults.waiting().len()
    }

    /// Breaks all connections that are open now, as a network does that gives them up: the end of a
    /// [`Blackhole`](Fault::Blackhole) for clients that wait for ever. New ones can be made.
    pub fn cut(&self) {
        self.faults.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for LabSession {
    fn drop(&mut self) {
        // The connections belong to this task, and end with it.
        self.accepting.abort();
    }
}

/// The faults of one session.
#[derive(Debug, Default)]
pub(super) struct Faults {
    waiting: Mutex<VecDeque<(At, Fault)>>,
    struck: AtomicU32,
    /// How often all connections were cut.
    cuts: watch::Sender<u32>,
}

impl Faults {
    /// The fault that strikes here, if there is one.
    pub(super) fn at(&self, place: At) -> Option<Fault> {
        let mut waiting = self.waiting();
        let index = waiting.iter().position(|(at, _)| *at == place)?;
        let (_, fault) = waiting.remove(index)?;
        self.struck.fetch_add(1, Ordering::Relaxed);
        Some(fault)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(At, Fault)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to the server, of whichever kind.
pub(super) trait Upstream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Upstream for S {}

async fn accept(listener: TcpListener, lab: Lab, faults: Arc<Faults>) {
    let mut relays = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (server, faults) = (Arc::clone(&lab.server), Arc::clone(&faults));
        let watch = lab.graph.clone().map(LockWatch::new);
        let mut cuts = faults.cuts.subscribe();
        relays.spawn(async move {
            // Whatever breaks on one side breaks the other; there is nobody to tell but the two.
            tokio::select! {
                _ = relay(client, || connect(&server), &faults, watch) => {}
                _ = cuts.changed() => {}
            }
        });
        while relays.try_join_next().is_some() {}
    }
}

async fn connect(server: &Config) -> std::io::Result<Box<dyn Upstream>> {
    let port = server.get_ports().first().copied().unwrap_or(5432);
    match server.get_hosts().first() {
        Some(Host::Unix(folder)) => {
            let socket = folder.join(format!(".s.PGSQL.{port}"));
            Ok(Box::new(UnixStream::connect(socket).await?))
        }
        Some(Host::Tcp(host)) => {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        None => Err(std::io::Error::other("the URL names no host")),
    }
}

/// The URL of the server, with the session's port in place of its address.
fn url_through(server: &Config, port: u16) -> String {
    let encoded = |text: &str| percent_encode(text).replace('/', "%2F");
    let user = server.get_user().map(encoded).unwrap_or_default();
    let password =
        server.get_password().map(|password| encoded(&String::from_utf8_lossy(password)));
    let login = password.map_or(user.clone(), |password| format!("{user}:{password}"));
    let database = server.get_dbname().map(encoded).unwrap_or_default();
    let mut url = format!("postgresql://{login}@127.0.0.1:{port}/{database}?sslmode=disable");
    for (name, value) in
        [("options", server.get_options()), ("application_name", server.get_application_name())]
    {
        if let Some(value) = value {
            url.push_str(&format!("&{name}={}", percent_encode(value)));
        }
    }
    url
}
