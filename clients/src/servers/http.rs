//! HTTP/1 and HTTP/2 without TLS: every request gets the same answer.

use std::convert::Infallible;
use std::io;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;

use crate::plain::{Server, hesitate};

/// Starts one that answers `body`.
///
/// # Errors
///
/// As [`Server::start`].
pub fn start(body: &'static str) -> io::Result<Server> {
    Server::start(move |stream| serve(stream, body))
}

async fn serve(stream: TcpStream, body: &'static str) -> io::Result<()> {
    let service = service_fn(move |_: Request<Incoming>| async move {
        hesitate().await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(body.as_bytes()))))
    });
    auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}
