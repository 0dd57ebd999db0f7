//! What the builder promises.

use tokio_postgres::config::Host;
use txsafe_testkit::Postgres;

use crate::database::{connect, show, text};

#[tokio::test]
async fn defaults_suit_tests() {
    let server = Postgres::start().await.unwrap();
    for (setting, value) in [
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "on"),
        ("max_connections", "100"),
        ("server_encoding", "UTF8"),
    ] {
        assert_eq!(show(server.url(), setting).await, value, "{setting}");
    }
}

#[tokio::test]
async fn a_durable_server_has_the_defaults_of_postgresql() {
    let server = Postgres::builder().durable(true).start().await.unwrap();
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        assert_eq!(show(server.url(), setting).await, "on", "{setting}");
    }
}

#[tokio::test]
async fn the_last_setting_wins() {
    let server = Postgres::builder()
        .setting("max_connections", "12")
        .setting("deadlock_timeout", "1s")
        .setting("deadlock_timeout", "200ms")
        .setting("search_path", r#""it's", "\""#)
        .start()
        .await
        .unwrap();
    assert_eq!(show(server.url(), "max_connections").await, "12");
    assert_eq!(show(server.url(), "deadlock_timeout").await, "200ms");
    assert_eq!(show(server.url(), "search_path").await, r#""it's", "\""#);
}

#[tokio::test]
async fn settings_survive_a_restart_and_can_be_altered() {
    let server = Postgres::builder().setting("deadlock_timeout", "200ms").start().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(show(server.url(), "deadlock_timeout").await, "200ms");

    let client = connect(server.url()).await.unwrap();
    client.batch_execute("ALTER SYSTEM SET deadlock_timeout = '300ms'").await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(show(server.url(), "deadlock_timeout").await, "300ms");
}

#[tokio::test]
async fn messages_come_in_the_language_asked_for() {
    let server = Postgres::builder().locale("de_DE.UTF-8").start().await.unwrap();
    assert_eq!(show(server.url(), "lc_messages").await, "de_DE.UTF-8");

    let client = connect(server.url()).await.unwrap();
    let error = client.batch_execute("SELECT fehlt").await.unwrap_err();
    // An umlaut's journey: the locale's encoding, the database's, ours.
    assert_eq!(error.as_db_error().unwrap().message(), "Spalte »fehlt« existiert nicht");
}

#[tokio::test]
async fn the_socket_is_a_second_way_in() {
    let server = Postgres::start().await.unwrap();
    let url = server.socket_url().unwrap();
    let config: tokio_postgres::Config = url.parse().unwrap();
    let home = server.data_dir().unwrap().parent().unwrap();
    assert_eq!(config.get_hosts(), [Host::Unix(home.to_owned())]);

    let client = connect(url).await.unwrap();
    assert_eq!(
        text(&client, "SELECT coalesce(inet_client_addr()::text, 'socket')").await,
        "socket"
    );
}

#[tokio::test]
async fn without_tcp_the_socket_is_the_only_way_in() {
    let server = Postgres::builder().tcp(false).start().await.unwrap();
    assert_eq!(server.url(), server.socket_url().unwrap());
    assert_eq!(show(server.url(), "listen_addresses").await, "");
}
