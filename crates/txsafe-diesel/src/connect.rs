//! Connections whose wire is observed.

use crate::{
    observer::Observer,
    refused::ConnectFailure,
    wire::{
        link::Link,
        negotiate::{Plain, Preferred, is_no_tls},
        stream::{LastLink, Observed, ObservedTls},
    },
};
use diesel::{ConnectionError, ConnectionResult, connection::get_default_instrumentation};
use diesel_async::{
    AsyncPgConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod},
};
use std::{path::Path, sync::Arc};
use tokio::net::UnixStream;
use tokio_postgres::{
    Config, NoTls, Socket,
    config::{Host, SslMode, SslNegotiation},
    tls::{MakeTlsConnect, TlsConnect},
};
use txsafe::{
    driver::{Takers, lock_mutex as lock},
    guard::connection_taken,
};

/// A manager for a pool of observed connections to `url`, over TCP without TLS or over a Unix socket.
///
/// The guard is told of every connection that is taken from the pool: in a transaction it is a second one, and a finding
/// ([`TXS005`](txsafe::guard::Code::SecondConnection)).
///
/// The pool's own hooks are the application's: `post_create` runs on each new connection, behind the setup of this manager;
/// `pre_recycle` and `post_recycle` run before and behind its recycling, which asks the server nothing. Where the setup or the
/// recycling itself has to be another one, make a manager of your own, with [`connect`] in its `custom_setup`.
///
/// # Examples
/// ```
/// use diesel_async::pooled_connection::deadpool::Pool;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(txsafe_diesel::manager("postgres://shop@localhost/shop")).max_size(8).build()?;
/// let db = txsafe_diesel::Database::builder(pool).build()?;
/// # let _ = db;
/// # Ok(())
/// # }
/// ```
///
/// With a statement that runs on each new connection:
/// ```
/// use diesel_async::{
///     AsyncPgConnection, SimpleAsyncConnection,
///     pooled_connection::{PoolError, deadpool::{Hook, HookError, Pool}},
/// };
/// use txsafe_diesel::manager;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(manager("postgres://shop@localhost/shop"))
///     .post_create(Hook::async_fn(|conn: &mut AsyncPgConnection, _metrics| {
///         Box::pin(async move {
///             let set = conn.batch_execute("SET search_path = tenant").await;
///             set.map_err(|error| HookError::Backend(PoolError::QueryError(error)))
///         })
///     }))
///     .build()?;
/// # let _ = pool;
/// # Ok(())
/// # }
/// ```
#[must_use]
#[inline] // compiled by the service, which connects, and not here as well
pub fn manager(url: impl Into<String>) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    manager_with(url, NoTls)
}

/// A manager for a pool of observed connections to `url`, with TLS by `tls`, such as
/// `tokio_postgres_rustls::MakeRustlsConnect`; otherwise like [`manager`].
#[must_use]
pub fn manager_with<T>(
    url: impl Into<String>,
    tls: T,
) -> AsyncDieselConnectionManager<AsyncPgConnection>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send + 'static,
{
    let takers = Takers::new(POOL, false);
    let mut setup = ManagerConfig::<AsyncPgConnection>::default();
    setup.custom_setup = Box::new(move |url| {
        connection_taken(POOL);
        let takers = takers.clone();
        let connecting = url.parse::<Config>().map(|config| connect(config, tls.clone()));
        Box::pin(async move {
            // The URL may hold a password: it is not repeated.
            let connecting = connecting
                .map_err(|error| ConnectionError::InvalidConnectionUrl(error.to_string()))?;
            let mut conn = connecting.await?;
            if let Some(link) = Observer::<Link>::known_link_of(&mut conn) {
                link.set_tracked(takers.track());
                link.taken();
            }
            Ok(conn)
        })
    });
    // A connection that ended in doubt never comes back to the pool, so there is nothing to ask each one for.
    setup.recycling_method = RecyclingMethod::CustomFunction(Box::new(|conn| {
        connection_taken(POOL);
        if let Some(link) = Observer::<Link>::known_link_of(conn) {
            link.taken();
        }
        Box::pin(std::future::ready(Ok(())))
    }));
    AsyncDieselConnectionManager::new_with_config(url, setup)
}

/// What findings call a pool of these.
const POOL: &str = "a pool of diesel-async";

/// Makes one observed connection, for a `custom_setup` of your own. It takes the place of `config.connect(tls)` and
/// `AsyncPgConnection::try_from_client_and_connection`.
///
/// What `sslmode` asks for is done as the driver does it: with `require`, `tls` is used or the connection fails; with `prefer`,
/// the default, it asks the server whether that does TLS; with `disable` or [`NoTls`] it doesn't ask. Whichever it is, the
/// connection is observed, also over a Unix socket.
///
/// To cancel what runs on it, use [`cancel_request`](crate::cancel_request()). A token of the driver's has no way to a server
/// without TLS, because such a connection is made by a connector of ours.
///
/// The guard isn't told: a pool over a manager of your own has to say itself when a connection is taken from it, by
/// [`guard::connection_taken`](connection_taken).
///
/// # Errors
/// As the driver: the server can't be reached or refuses, or TLS fails. Unix sockets and TCP hosts in one `config` are refused,
/// and so is `sslmode=require` where there is no TLS: with [`NoTls`], or over a Unix socket.
///
/// # Examples
/// A manager with a setup and a recycling of its own, whose pool tells the guard of its connections:
/// ```
/// use diesel::ConnectionError;
/// use diesel_async::{
///     AsyncPgConnection, SimpleAsyncConnection,
///     pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod},
/// };
/// use tokio_postgres::{Config, NoTls};
/// use txsafe_diesel::{connect, guard::connection_taken};
///
/// let mut setup = ManagerConfig::<AsyncPgConnection>::default();
/// setup.custom_setup = Box::new(|url| {
///     connection_taken("the shop's pool");
///     let config = url.parse::<Config>();
///     Box::pin(async move {
///         let invalid = |error: tokio_postgres::Error| ConnectionError::InvalidConnectionUrl(error.to_string());
///         let mut conn = connect(config.map_err(invalid)?, NoTls).await?;
///         conn.batch_execute("SET search_path = tenant").await.map_err(ConnectionError::CouldntSetupConfiguration)?;
///         Ok(conn)
///     })
/// });
/// setup.recycling_method = RecyclingMethod::CustomFunction(Box::new(|conn| {
///     connection_taken("the shop's pool");
///     Box::pin(conn.batch_execute("SELECT 1"))
/// }));
/// let manager = AsyncDieselConnectionManager::new_with_config("postgres://shop@localhost/shop", setup);
/// # let _ = manager;
/// ```
pub async fn connect<T>(config: Config, tls: T) -> ConnectionResult<AsyncPgConnection>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send + 'static,
{
    let mode = config.get_ssl_mode();
    if let Some(directories) = unix_sockets(&config)? {
        return match mode {
            SslMode::Disable | SslMode::Prefer => over_unix(&config, &directories).await,
            _ => Err(no_tls("and there is none over a Unix socket")),
        };
    }
    match mode {
        SslMode::Disable => over_tcp(at_once(config), Plain).await,
        SslMode::Prefer if is_no_tls::<T>() => over_tcp(at_once(config), Plain).await,
        _ if is_no_tls::<T>() => Err(no_tls(
            "and there is no connector for it: use `txsafe_diesel::manager_with(url, tls)` or \
             `txsafe_diesel::connect(config, tls)`",
        )),
        // The driver refuses to prefer TLS that isn't negotiated.
        SslMode::Prefer if config.get_ssl_negotiation() != SslNegotiation::Direct => {
            let has_host = !config.get_hosts().is_empty();
            over_tcp(at_once(config), Preferred { tls, has_host }).await
        }
        _ => over_tcp(config, tls).await,
    }
}

/// A request to cancel the statement that runs on a connection of [`manager`], [`manager_with`] or [`connect`]. `None` for
/// other connections: use their `cancel_token`.
///
/// Made before the statement is run, it can be awaited elsewhere meanwhile. It is sent on a connection of its own when it is
/// polled. The server doesn't tell whether there was something to cancel.
///
/// # Examples
/// ```
/// use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
/// use std::{error::Error, pin::pin, time::Duration};
/// use txsafe_diesel::cancel_request;
///
/// async fn at_most_a_minute(conn: &mut AsyncPgConnection) -> Result<(), Box<dyn Error>> {
///     let cancel = cancel_request(conn);
///     let mut running = pin!(conn.batch_execute("CALL rebuild_totals()"));
///     match tokio::time::timeout(Duration::from_secs(60), &mut running).await {
///         Ok(done) => Ok(done?),
///         Err(_elapsed) => {
///             if let Some(cancel) = cancel {
///                 cancel.await;
///             }
///             Ok(running.await?) // most likely: canceling statement due to user request
///         }
///     }
/// }
/// # let _ = at_most_a_minute;
/// ```
pub fn cancel_request(
    conn: &mut AsyncPgConnection,
) -> Option<impl Future<Output = ()> + Send + use<>> {
    Observer::<Link>::known_link_of(conn)?.cancel()
}

fn no_tls(why: &str) -> ConnectionError {
    ConnectionError::BadConnection(format!("the URL asks for TLS (sslmode=require), {why}"))
}

/// Has the driver call its connector before anything is said to the server.
fn at_once(mut config: Config) -> Config {
    if config.get_hosts().is_empty() {
        // The driver wants a host name for its connector; ours know it for an address, or don't look at it.
        for address in config.get_hostaddrs().to_vec() {
            config.host(address.to_string());
        }
    }
    config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    config
}

async fn over_tcp<T>(config: Config, tls: T) -> ConnectionResult<AsyncPgConnection>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send + 'static,
{
    let last = LastLink::default();
    let observed = ObservedTls { inner: tls.clone(), last: Arc::clone(&last) };
    let (client, connection) =
        config.connect(observed).await.map_err(|error| ConnectFailure::into_diesel(&error))?;
    let mut conn = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
    // With an `sslmode` that is unknown here the driver may go on without its connector.
    let link = lock(&last).take().filter(|link| link.is_on_wire());
    let link = link.unwrap_or_else(|| Arc::new(Link::off_wire()));
    let token = conn.cancel_token();
    link.set_cancel(Box::new(move || {
        let (token, tls) = (token.clone(), tls.clone());
        Box::pin(async move {
            // Best effort: the connection is closed anyway.
            let _ = token.cancel_query(tls).await;
        })
    }));
    Observer::install(&mut conn, link, get_default_instrumentation());
    Ok(conn)
}

/// The directories of the Unix sockets, if that is what the URL names.
fn unix_sockets(config: &Config) -> ConnectionResult<Option<Vec<Arc<Path>>>> {
    let directories: Vec<Arc<Path>> = config
        .get_hosts()
        .iter()
        .filter_map(|host| match host {
            Host::Unix(directory) => Some(directory.as_path().into()),
            Host::Tcp(_) => None,
        })
        .collect();
    match directories.len() {
        0 => Ok(None),
        n if n == config.get_hosts().len() => Ok(Some(directories)),
        _ => Err(ConnectionError::BadConnection(
            "the URL names Unix sockets and TCP hosts together: name hosts of one kind".into(),
        )),
    }
}

/// The driver wraps no stream over a Unix socket, so the socket is opened here.
async fn over_unix(
    config: &Config,
    directories: &[Arc<Path>],
) -> ConnectionResult<AsyncPgConnection> {
    let mut last_error = None;
    for (i, directory) in directories.iter().enumerate() {
        let port = config.get_ports().get(i).or_else(|| config.get_ports().first());
        let path = directory.join(format!(".s.PGSQL.{}", port.copied().unwrap_or(5432)));
        match over_unix_socket(config, &path).await {
            Ok(conn) => return Ok(conn),
            Err(error) => last_error = Some(error),
        }
    }
    Err(last_error
        .unwrap_or_else(|| ConnectionError::BadConnection("the URL names no host".into())))
}

async fn over_unix_socket(config: &Config, path: &Path) -> ConnectionResult<AsyncPgConnection> {
    let unreachable =
        |error| ConnectionError::BadConnection(format!("{}: {error}", path.display()));
    let socket = UnixStream::connect(path).await.map_err(unreachable)?;
    let link = Arc::new(Link::on_wire());
    let observed = Observed::new(socket, Arc::clone(&link));
    let (client, connection) = config
        .connect_raw(observed, NoTls)
        .await
        .map_err(|error| ConnectFailure::into_diesel(&error))?;
    // Ends with its client; what goes wrong is seen on the wire.
    tokio::spawn(connection);
    let mut conn = AsyncPgConnection::try_from(client).await?;
    let (token, path) = (conn.cancel_token(), Arc::<Path>::from(path));
    link.set_cancel(Box::new(move || {
        let (token, path) = (token.clone(), Arc::clone(&path));
        Box::pin(async move {
            if let Ok(socket) = UnixStream::connect(&path).await {
                let _ = token.cancel_query_raw(socket, NoTls).await;
            }
        })
    }));
    Observer::install(&mut conn, link, get_default_instrumentation());
    Ok(conn)
}
