//! A client of a server that axum serves.

use super::support::{Tx, assert_credits, database, open};
use crate::words::{CREDIT, Words, on_all};
use axum::{Router, extract::Path, http::StatusCode, routing};
use std::{future::pending, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use txsafe_conformance::shop::Shop;
use txsafe_layers::TransactionLayer;

on_all![what_a_client_reads_is_true, a_client_that_goes_away_leaves_nothing];

async fn serve<D: Words>(shop: &Shop, wrote: &Arc<Notify>) -> SocketAddr {
    let wrote = Arc::clone(wrote);
    let handler = async move |Path(status): Path<u16>, mut tx: Tx<D>| {
        D::run(&mut tx, CREDIT).await.unwrap();
        match StatusCode::from_u16(status) {
            Ok(status) => status,
            Err(_) => {
                wrote.notify_one();
                pending().await
            }
        }
    };
    let app = Router::new()
        .route("/{status}", routing::post(handler))
        .layer(TransactionLayer::new(database::<D>(shop)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn send(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn what_a_client_reads_is_true<D: Words>() {
    let shop = open().await;
    let address = serve::<D>(&shop, &Arc::default()).await;
    for (path, credits) in [("/201", 1), ("/303", 2), ("/409", 2)] {
        let mut read = String::new();
        send(address, path).await.read_to_string(&mut read).await.unwrap();
        assert!(read.starts_with(&format!("HTTP/1.1 {}", &path[1..])), "{read}");
        assert_eq!(shop.balance_of(1).await, 100 + credits);
    }
    assert_eq!(shop.busy().await, 0);
}

async fn a_client_that_goes_away_leaves_nothing<D: Words>() {
    let shop = open().await;
    let wrote = Arc::<Notify>::default();
    let client = send(serve::<D>(&shop, &wrote).await, "/0").await;
    wrote.notified().await;
    drop(client);
    assert_credits(&shop, 0).await;
}
