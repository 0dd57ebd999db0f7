//! Connections whose wire is observed.

use crate::{
    observer::Observer,
    refused::ConnectFailure,
    wire::{
        link::Link,
        stream::{Observed, ObservedTls, Plain},
    },
};
use diesel::{ConnectionError, ConnectionResult};
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
use txsafe::guard::connection_taken;

/// A manager for a pool of observed connections to `url`, over TCP without TLS or over a Unix socket.
///
/// The guard is told of every connection that is taken from the pool: in a transaction it is a second one, and a finding
/// ([`TXS005`](txsafe::guard::Code::SecondConnection)).
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
#[must_use]
pub fn manager(url: impl Into<String>) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    managed(url, |config| Box::pin(connect_plain(config)))
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
    managed(url, move |config| Box::pin(connect(config, tls.clone())))
}

/// Makes one observed connection, for a `custom_setup` of your own. It takes the place of `config.connect(tls)` and
/// `AsyncPgConnection::try_from_client_and_connection`.
///
/// # Errors
/// As these two: the server can't be reached or refuses, or TLS fails.
pub async fn connect<T>(config: Config, tls: T) -> ConnectionResult<AsyncPgConnection>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send + 'static,
{
    let link = Arc::new(Link::on_wire());
    over_tcp(config, ObservedTls::new(tls.clone(), Arc::clone(&link)), tls, link).await
}

type Connecting =
    std::pin::Pin<Box<dyn Future<Output = ConnectionResult<AsyncPgConnection>> + Send>>;

fn managed(
    url: impl Into<String>,
    connect: impl Fn(Config) -> Connecting + Send + Sync + 'static,
) -> AsyncDieselConnectionManager<AsyncPgConnection> {
    let mut setup = ManagerConfig::<AsyncPgConnection>::default();
    setup.custom_setup = Box::new(move |url| {
        connection_taken(POOL);
        let connecting = url.parse::<Config>().map(&connect);
        Box::pin(async move {
            // The URL may hold a password: it is not repeated.
            connecting
                .map_err(|error| ConnectionError::InvalidConnectionUrl(error.to_string()))?
                .await
        })
    });
    // A connection that ended in doubt never comes back to the pool, so there is nothing to ask each one for.
    setup.recycling_method = RecyclingMethod::CustomFunction(Box::new(|_| {
        connection_taken(POOL);
        Box::pin(std::future::ready(Ok(())))
    }));
    AsyncDieselConnectionManager::new_with_config(url, setup)
}

/// What findings call a pool of these.
const POOL: &str = "a pool of diesel-async";

async fn connect_plain(mut config: Config) -> ConnectionResult<AsyncPgConnection> {
    if config.get_ssl_mode() == SslMode::Require {
        return Err(ConnectionError::BadConnection(
            "the URL asks for TLS (sslmode=require), and this manager has none: use \
             `txsafe_diesel::manager_with(url, tls)`"
                .into(),
        ));
    }
    match unix_sockets(&config)? {
        Some(directories) => over_unix(&config, &directories).await,
        None => {
            let link = Arc::new(Link::on_wire());
            if config.get_hosts().is_empty() {
                // The driver wants a host name for its connector, and ours doesn't look at it.
                for address in config.get_hostaddrs().to_vec() {
                    config.host(address.to_string());
                }
            }
            config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
            over_tcp(config, ObservedTls::new(Plain, Arc::clone(&link)), Plain, link).await
        }
    }
}

async fn over_tcp<T, C>(
    config: Config,
    observed: ObservedTls<T>,
    for_cancel: C,
    link: Arc<Link>,
) -> ConnectionResult<AsyncPgConnection>
where
    ObservedTls<T>: MakeTlsConnect<Socket, Stream: Send + 'static>,
    C: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    C::Stream: Send,
    C::TlsConnect: Send,
    <C::TlsConnect as TlsConnect<Socket>>::Future: Send,
    <ObservedTls<T> as MakeTlsConnect<Socket>>::TlsConnect: Send,
    ObservedTls<T>: Send,
    <<ObservedTls<T> as MakeTlsConnect<Socket>>::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) =
        config.connect(observed).await.map_err(|error| ConnectFailure::into_diesel(&error))?;
    let mut conn = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
    // With `sslmode=prefer` the driver goes on without its connector where the server doesn't do TLS.
    let link = if link.is_on_wire() { link } else { Arc::new(Link::off_wire()) };
    let token = conn.cancel_token();
    link.set_cancel(Box::new(move || {
        let (token, tls) = (token.clone(), for_cancel.clone());
        Box::pin(async move {
            // Best effort: the connection is closed anyway.
            let _ = token.cancel_query(tls).await;
        })
    }));
    Observer::install(&mut conn, link);
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
    Observer::install(&mut conn, link);
    Ok(conn)
}
