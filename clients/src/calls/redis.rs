//! redis over its multiplexed connection.

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, Client};

use crate::plain::{Call, Case, Failed, Server, Wait, call};
use crate::servers::redis as server;

pub(super) const CASES: &[Case] = &[
    Case::new("redis.connect", "connect", Wait::Suspends, || Box::pin(connect())),
    Case::new("redis.set", "SET over an open connection", Wait::Suspends, || Box::pin(set())),
];

async fn connect() -> Result<Call, Failed> {
    let (client, server) = start()?;
    Ok(call(async move { Ok((client.get_multiplexed_async_connection().await?, server)) }))
}

async fn set() -> Result<Call, Failed> {
    let (client, server) = start()?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(call(async move {
        let () = connection.set("order:1", "paid").await?;
        Ok::<(MultiplexedConnection, Server), Failed>((connection, server))
    }))
}

fn start() -> Result<(Client, Server), Failed> {
    let server = server::start()?;
    Ok((Client::open(format!("redis://{}", server.address()))?, server))
}
