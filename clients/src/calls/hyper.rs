//! hyper-util's pooling client.

use http_body_util::{BodyExt as _, Empty};
use hyper::Uri;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::pool;
use crate::plain::{Call, Case, Failed, Server, Wait, call};
use crate::servers::http;

pub(super) const CASES: &[Case] = &[
    Case::new("hyper.http1.fresh", "GET over a new connection", Wait::Suspends, || {
        Box::pin(fresh(Version::Http1))
    }),
    Case::new(
        "hyper.http1.pooled",
        "GET over a connection that is kept alive",
        Wait::Suspends,
        || Box::pin(pooled(Version::Http1)),
    ),
    Case::new("hyper.http2.fresh", "GET over a new connection", Wait::Suspends, || {
        Box::pin(fresh(Version::Http2))
    }),
    Case::new("hyper.http2.pooled", "GET over a connection that is open", Wait::Suspends, || {
        Box::pin(pooled(Version::Http2))
    }),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

impl Version {
    /// The tasks that stay, for a connection.
    fn tasks(self) -> usize {
        match self {
            Self::Http1 => 1,
            Self::Http2 => 2,
        }
    }
}

type Plain = Client<HttpConnector, Empty<Bytes>>;

async fn fresh(version: Version) -> Result<Call, Failed> {
    let (client, server) = start(version)?;
    Ok(call(async move {
        get(&client, &server).await?;
        Ok((client, server))
    }))
}

async fn pooled(version: Version) -> Result<Call, Failed> {
    let (client, server) = start(version)?;
    pool::fill(version.tasks(), get(&client, &server)).await?;
    Ok(call(async move {
        pool::reuse(&server, get(&client, &server)).await?;
        Ok((client, server))
    }))
}

fn start(version: Version) -> Result<(Plain, Server), Failed> {
    let client =
        Client::builder(TokioExecutor::new()).http2_only(version == Version::Http2).build_http();
    Ok((client, http::start("hello")?))
}

/// Reads the body as well: only then the connection is free for the next request.
async fn get(client: &Plain, server: &Server) -> Result<(), Failed> {
    let uri: Uri = format!("http://{}", server.address()).parse()?;
    client.get(uri).await?.into_body().collect().await?;
    Ok(())
}
