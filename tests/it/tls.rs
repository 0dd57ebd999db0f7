//! TLS: observed inside the encryption, and never given up silently.

use crate::{
    remedies::raise,
    support::{AppError, Attempts, until},
};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection, pooled_connection::deadpool::Pool};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    time::Duration,
};
use tokio_postgres::NoTls;
use tokio_postgres_rustls::MakeRustlsConnect;
use txsafe_diesel::{Database, TxOptions, manager, manager_with};
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
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, MakeRustlsConnect::new(config))
}

fn url(server: &Postgres, sslmode: &str) -> String {
    format!("{}?sslmode={sslmode}", server.url().replacen("127.0.0.1", "localhost", 1))
}

fn pool(
    manager: diesel_async::pooled_connection::AsyncDieselConnectionManager<AsyncPgConnection>,
) -> Pool<AsyncPgConnection> {
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
    let options = TxOptions::new().retry(txsafe_diesel::RetryPolicy::new().max_attempts(1));
    let refused = db.with(options).transaction("plain", async |_tx| Ok::<_, AppError>(()));
    let text = refused.await.unwrap_err().ours().to_string();
    assert!(text.contains("manager_with"), "{text}");
}

#[tokio::test]
async fn preferred_and_not_to_be_had_means_unobserved_and_still_true() {
    let (_with, tls) = with_tls().await;
    let without = Postgres::start().await.unwrap();
    let db = Database::builder(pool(manager_with(url(&without, "prefer"), tls))).build().unwrap();
    let attempts = Attempts::default();
    let committed = db.transaction("preferred", async |mut tx| {
        if attempts.is_first() {
            raise(&mut tx, "40001").await?;
        }
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!(attempts.count(), 2);
    let swallowed = db.transaction("swallowed", async |mut tx| {
        let _ignored = tx.batch_execute("SELECT 1/0").await;
        Ok::<_, AppError>(())
    });
    assert!(swallowed.await.unwrap_err().ours().is_rolled_back_at_commit());
}
