//! async-nats, which publishes into a channel to its own task.

use async_nats::Client;

use crate::plain::{Call, Case, Failed, Server, Wait, call};
use crate::servers::nats;

pub(super) const CASES: &[Case] = &[
    Case::new("async_nats.connect", "connect", Wait::Suspends, || Box::pin(connect())),
    Case::new("async_nats.publish", "publish: into a buffer", Wait::GoesOn, || Box::pin(publish())),
    Case::new(
        "async_nats.flush",
        "publish and flush the buffer; no answer is awaited",
        Wait::Yields,
        || Box::pin(flush()),
    ),
];

async fn connect() -> Result<Call, Failed> {
    let server = nats::start()?;
    Ok(call(async move { Ok((open(&server).await?, server)) }))
}

async fn publish() -> Result<Call, Failed> {
    let server = nats::start()?;
    let client = open(&server).await?;
    Ok(call(async move {
        client.publish("orders", "paid".into()).await?;
        Ok((client, server))
    }))
}

async fn flush() -> Result<Call, Failed> {
    let server = nats::start()?;
    let client = open(&server).await?;
    Ok(call(async move {
        client.publish("orders", "paid".into()).await?;
        client.flush().await?;
        Ok((client, server))
    }))
}

async fn open(server: &Server) -> Result<Client, Failed> {
    Ok(async_nats::connect(format!("nats://{}", server.address())).await?)
}
