//! reqwest, on the transaction's task and on others.

use reqwest::{Client, RequestBuilder};

use super::pool;
use crate::plain::{Call, Case, Failed, Server, Wait, call};
use crate::servers::http;

pub(super) const CASES: &[Case] = &[
    Case::new("reqwest.fresh", "GET over a new connection", Wait::Suspends, || Box::pin(fresh())),
    Case::new("reqwest.pooled", "GET over a connection that is kept alive", Wait::Suspends, || {
        Box::pin(pooled())
    }),
    Case::new("reqwest.spawned", "GET on a spawned task that is awaited", Wait::Suspends, || {
        Box::pin(spawned())
    }),
    Case::new(
        "reqwest.forgotten",
        "GET on a spawned task that nobody awaits",
        Wait::GoesOn,
        || Box::pin(forgotten()),
    ),
];

/// The tasks that stay: the connection's, and the one that closes what is idle.
const TASKS: usize = 2;

async fn fresh() -> Result<Call, Failed> {
    let (client, server) = start()?;
    Ok(call(async move {
        exchange(get(&client, &server)).await?;
        Ok((client, server))
    }))
}

async fn pooled() -> Result<Call, Failed> {
    let (client, server) = start()?;
    pool::fill(TASKS, exchange(get(&client, &server))).await?;
    Ok(call(async move {
        pool::reuse(&server, exchange(get(&client, &server))).await?;
        Ok((client, server))
    }))
}

async fn spawned() -> Result<Call, Failed> {
    let (client, server) = start()?;
    Ok(call(async move {
        tokio::spawn(exchange(get(&client, &server))).await??;
        Ok((client, server))
    }))
}

async fn forgotten() -> Result<Call, Failed> {
    let (client, server) = start()?;
    Ok(call(async move {
        // What is left is dropped early; so the task keeps the server.
        tokio::spawn(async move {
            let answer = exchange(get(&client, &server)).await;
            drop((client, server));
            answer
        });
        Ok(())
    }))
}

fn start() -> Result<(Client, Server), Failed> {
    // A proxy of this machine's would not find the server.
    Ok((Client::builder().no_proxy().build()?, http::start("hello")?))
}

fn get(client: &Client, server: &Server) -> RequestBuilder {
    client.get(format!("http://{}", server.address()))
}

/// Reads the body as well: only then the connection is free for the next request.
async fn exchange(request: RequestBuilder) -> Result<(), Failed> {
    request.send().await?.error_for_status()?.bytes().await?;
    Ok(())
}
