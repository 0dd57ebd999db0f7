//! Asking a server something.

use tokio_postgres::{Client, Error, NoTls};

pub(crate) async fn connect(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) async fn show(url: &str, setting: &str) -> String {
    text(&connect(url).await.unwrap(), &format!("SHOW {setting}")).await
}

pub(crate) async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.unwrap().get(0)
}
