//! gRPC's health service, which is always well.

use std::io;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;

use crate::plain::{Server, hesitate};

/// Starts one.
///
/// # Errors
///
/// As [`Server::start`].
pub fn start() -> io::Result<Server> {
    Server::start(serve)
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let health = TowerToHyperService::new(health);
    let service = service_fn(move |request: Request<Incoming>| {
        let health = health.clone();
        async move {
            hesitate().await;
            health.call(request).await
        }
    });
    auto::Builder::new(TokioExecutor::new())
        .http2_only()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}
