//! TLS: observed inside the encryption and without, whatever connector there is, and never given up silently.

use crate::{
    remedies::raise,
    support::{AppError, Attempts, until},
};
use diesel::sql_types::Bool;
use diesel_async::{
    AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, deadpool::Pool},
};
use futures_util::FutureExt;
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_postgres::{
    Config, NoTls, Socket,
    config::SslMode,
    tls::{MakeTlsConnect, TlsConnect},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use txsafe_diesel::{
    Database, RetryPolicy, TxOptions, cancel_request, connect, manager, manager_with,
};
use txsafe_testkit::Postgres;

/// A server that does TLS, and a connector that trusts it.
async fn with_tls() -> (Postgres, MakeRustlsConnect) {
    let server = Postgres::start().await.unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let home = server.data_dir().unwrap();
    let owner = fs::metadata(home).unwrap();
    for (file, text) in
        [("server.crt", made.cert.pem()), ("server.key", made.signing_key.serialize_pem())]
    {
        let path = home.join(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let (client, connection) = tokio_postgres::connect(server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    drop(client);
    server.restart().await.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
    (server, trusting(roots))
}

fn trusting(roots: RootCertStore) -> MakeRustlsConnect {
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

fn url(server: &Postgres, sslmode: &str) -> String {
    format!("{}?sslmode={sslmode}", server.url().replacen("127.0.0.1", "localhost", 1))
}

fn pool(manager: AsyncDieselConnectionManager<AsyncPgConnection>) -> Pool<AsyncPgConnection> {
    Pool::builder(manager).max_size(2).build().unwrap()
}

#[tokio::test]
async fn observed_inside_the_encryption_and_cancelled_through_it() {
    let (server, tls) = with_tls().await;
    let db = Database::builder(pool(manager_with(url(&server, "require"), tls))).build().unwrap();
    let attempts = Attempts::default();
    let committed = db.transaction("encrypted", async |mut tx| {
        if attempts.is_first() {
            raise(&mut tx, "40P01").await?;
        }
        tx.batch_execute(
            "DO $$ BEGIN ASSERT (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()); END $$",
        )
        .await?;
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!(attempts.count(), 2, "the code was read off the wire");

    let options = TxOptions::new()
        .timeout(Duration::from_millis(50))
        .statement_timeout(Duration::from_secs(900))
        .lock_timeout(Duration::from_secs(1));
    let (watcher, connection) = tokio_postgres::connect(server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let endless = db.with(options).transaction("endless", async |mut tx| {
        // The server's own timeout is lifted, so that only the cancel request can end it.
        tx.batch_execute("SET LOCAL statement_timeout = 0; SELECT pg_sleep(600)").await?;
        Ok::<_, AppError>(())
    });
    endless.await.unwrap_err();
    until("the end of the statement", async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'endless'";
        watcher.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
}

#[tokio::test]
async fn a_url_that_asks_for_tls_is_not_served_without() {
    let server = Postgres::shared().await.unwrap();
    let db = Database::builder(pool(manager(url(server, "require")))).build().unwrap();
    let options = TxOptions::new().retry(RetryPolicy::new().max_attempts(1));
    let refused = db.with(options).transaction("plain", async |_tx| Ok::<_, AppError>(()));
    let text = refused.await.unwrap_err().ours().to_string();
    assert!(text.contains("manager_with"), "{text}");
}

/// A database whose pool has a setup of its own, which calls `connect`.
fn by_connect<T>(config: Config, tls: T) -> Database
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send + 'static,
{
    let mut setup = ManagerConfig::<AsyncPgConnection>::default();
    setup.custom_setup = Box::new(move |_| Box::pin(connect(config.clone(), tls.clone())));
    let manager = AsyncDieselConnectionManager::new_with_config("", setup);
    let retry = RetryPolicy::new().max_attempts(2);
    Database::builder(pool(manager)).retry(retry).build().unwrap()
}

/// Whether its connections have TLS, or why there are none. They are observed.
async fn has_tls(db: &Database) -> Result<bool, String> {
    let attempts = Attempts::default();
    let observed = db.transaction("observed", async |mut tx| {
        if attempts.is_first() {
            // Its words say nothing: whoever doesn't see the code doesn't try again.
            raise(&mut tx, "40P01").await?;
        }
        let ssl = diesel::dsl::sql::<Bool>("ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
        Ok::<_, AppError>(diesel::select(ssl).get_result(&mut tx).await?)
    });
    let has_tls = observed.await.map_err(|error| error.ours().to_string())?;
    assert_eq!(attempts.count(), 2, "the code was read off the wire");
    Ok(has_tls)
}

/// How to connect to a server, with this `sslmode` or the default, by the name of its host or by its address only.
fn config(server: &Postgres, mode: Option<SslMode>, host: Host) -> Config {
    let url = server.url().parse::<Config>().unwrap();
    let mut config = Config::new();
    config.port(url.get_ports()[0]).user(url.get_user().unwrap());
    config.dbname(url.get_dbname().unwrap());
    if let Some(password) = url.get_password() {
        config.password(password);
    }
    if let Some(mode) = mode {
        config.ssl_mode(mode);
    }
    match host {
        Host::Named => config.host("localhost"),
        Host::Address => config.hostaddr(Ipv4Addr::LOCALHOST.into()),
    };
    config
}

#[derive(Debug, Clone, Copy)]
enum Host {
    Named,
    Address,
}

#[tokio::test]
async fn whatever_is_asked_for_is_had_and_observed_or_refused() {
    let (with, tls) = with_tls().await;
    let without = Postgres::start().await.unwrap();
    let (disable, require) = (Some(SslMode::Disable), Some(SslMode::Require));
    for host in [Host::Named, Host::Address] {
        for mode in [None, disable, require] {
            for (server, does_tls) in [(&with, true), (&without, false)] {
                let config = || config(server, mode, host);
                let here = format!("{host:?}, {mode:?}, {does_tls}");
                match has_tls(&by_connect(config(), NoTls)).await {
                    Ok(has_tls) => assert!(!has_tls && mode != require, "{here}"),
                    Err(said) => {
                        assert!(mode == require && said.contains("manager_with"), "{here}: {said}");
                    }
                }
                let expected = match (mode, host, does_tls) {
                    (Some(SslMode::Disable), ..) | (None, _, false) => Ok(false),
                    (Some(_), _, false) => Err("does not support TLS"),
                    (_, Host::Named, true) => Ok(true),
                    // Nothing is known that its certificate should say.
                    (_, Host::Address, true) => Err("no host"),
                };
                match (has_tls(&by_connect(config(), tls.clone())).await, expected) {
                    (Ok(has_tls), Ok(expected)) => assert_eq!(has_tls, expected, "{here}"),
                    (Err(said), Err(expected)) => {
                        assert!(said.contains(expected), "{here}: {said}")
                    }
                    (got, _) => panic!("{here}: {got:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_unix_socket_is_observed_whatever_connector_there_is_and_has_no_tls() {
    let (server, tls) = with_tls().await;
    let socket = server.socket_url().unwrap();
    let config = |mode| {
        let mut config = socket.parse::<Config>().unwrap();
        config.ssl_mode(mode);
        config
    };
    for mode in [SslMode::Disable, SslMode::Prefer] {
        assert_eq!(has_tls(&by_connect(config(mode), NoTls)).await, Ok(false));
        assert_eq!(has_tls(&by_connect(config(mode), tls.clone())).await, Ok(false));
    }
    let said = has_tls(&by_connect(config(SslMode::Require), tls)).await.unwrap_err();
    assert!(said.contains("sslmode=require") && said.contains("Unix socket"), "{said}");
}

/// To prefer TLS is to do without it where there is none, and not where it fails.
#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_never_answered_by_a_connection_without_tls() {
    let (server, _tls) = with_tls().await;
    let distrusting = trusting(RootCertStore::empty());
    for mode in [SslMode::Prefer, SslMode::Require] {
        let config = config(&server, Some(mode), Host::Named);
        let said = has_tls(&by_connect(config, distrusting.clone())).await.unwrap_err();
        assert!(said.contains("invalid peer certificate"), "{said}");
    }
}

/// Somebody between the two may answer anything to the question for TLS.
#[tokio::test]
async fn nothing_is_sent_after_a_refusal_of_required_tls_or_an_unknown_answer() {
    let tls = trusting(RootCertStore::empty());
    for (mode, answer) in
        [(SslMode::Require, b'N'), (SslMode::Require, b'E'), (SslMode::Prefer, b'E')]
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut config = Config::new();
        config.hostaddr(Ipv4Addr::LOCALHOST.into()).host("localhost").user("shop").ssl_mode(mode);
        config.port(listener.local_addr().unwrap().port());
        let answered = async {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut request = [0; 8];
            client.read_exact(&mut request).await.unwrap();
            assert_eq!(request[4..], 80_877_103_i32.to_be_bytes(), "an SSLRequest");
            client.write_all(&[answer]).await.unwrap();
            let mut said = Vec::new();
            client.read_to_end(&mut said).await.unwrap();
            said
        };
        let (connected, said) = tokio::join!(connect(config, tls.clone()), answered);
        assert!(connected.is_err());
        assert_eq!(said, [0_u8; 0], "no password, no name");
    }
}

/// The driver goes on to the next one, whatever the first one said.
#[tokio::test]
async fn of_several_hosts_the_one_that_answers_is_observed() {
    let server = Postgres::shared().await.unwrap();
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = first.local_addr().unwrap().port();
    tokio::spawn(async move {
        let fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
        let length = (fields.len() as i32 + 4).to_be_bytes();
        while let Ok((mut client, _)) = first.accept().await {
            let mut startup = vec![0; client.read_i32().await.unwrap() as usize - 4];
            client.read_exact(&mut startup).await.unwrap();
            client.write_all(&[b"E", &length[..], fields].concat()).await.unwrap();
        }
    });
    let url = server.url().parse::<Config>().unwrap();
    let mut config = Config::new();
    config.host("localhost").port(port).host("localhost").port(url.get_ports()[0]);
    config.user(url.get_user().unwrap()).dbname(url.get_dbname().unwrap());
    config.password(url.get_password().unwrap_or_default());
    assert_eq!(has_tls(&by_connect(config, NoTls)).await, Ok(false));
}

#[tokio::test]
async fn what_runs_is_cancelled_in_the_way_in_which_its_connection_was_made() {
    let (with, tls) = with_tls().await;
    let without = Postgres::start().await.unwrap();
    let at = |server, mode| config(server, mode, Host::Named);
    let unix = without.socket_url().unwrap().parse::<Config>().unwrap();
    for (server, connecting) in [
        (&without, connect(at(&without, None), NoTls).boxed()),
        (&without, connect(at(&without, None), tls.clone()).boxed()),
        (&without, connect(unix, NoTls).boxed()),
        (&with, connect(at(&with, None), tls.clone()).boxed()),
        (&with, connect(at(&with, Some(SslMode::Require)), tls).boxed()),
    ] {
        let mut conn = connecting.await.unwrap();
        let cancel = cancel_request(&mut conn).unwrap();
        let (watcher, connection) = tokio_postgres::connect(server.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let cancelling = async {
            until("the statement", async || {
                let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)'
                           AND state = 'active' AND pid <> pg_backend_pid()";
                watcher.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
            })
            .await;
            cancel.await;
        };
        let (slept, ()) = tokio::join!(conn.batch_execute("SELECT pg_sleep(600)"), cancelling);
        assert!(slept.unwrap_err().to_string().contains("canceling statement"));
        assert!(cancel_request(&mut conn).is_some(), "it may be asked for again");
    }
    let mut elsewhere = AsyncPgConnection::establish(without.url()).await.unwrap();
    assert!(cancel_request(&mut elsewhere).is_none());
}
