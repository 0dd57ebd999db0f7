//! tonic, asking for a server's health.

use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::plain::{Call, Case, Failed, Server, Wait, call};
use crate::servers::grpc;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "tonic.connect",
        "connect a channel: as far as the kernel does it",
        Wait::Yields,
        || Box::pin(connect()),
    ),
    Case::new("tonic.first", "the first call of a lazy channel", Wait::Suspends, || {
        Box::pin(first())
    }),
    Case::new("tonic.second", "a call over an open channel", Wait::Suspends, || Box::pin(second())),
];

async fn connect() -> Result<Call, Failed> {
    let (endpoint, server) = start()?;
    Ok(call(async move { Ok((endpoint.connect().await?, server)) }))
}

async fn first() -> Result<Call, Failed> {
    let (endpoint, server) = start()?;
    let mut client = HealthClient::new(endpoint.connect_lazy());
    Ok(call(async move {
        check(&mut client).await?;
        Ok((client, server))
    }))
}

async fn second() -> Result<Call, Failed> {
    let (endpoint, server) = start()?;
    let mut client = HealthClient::new(endpoint.connect_lazy());
    check(&mut client).await?;
    Ok(call(async move {
        check(&mut client).await?;
        Ok((client, server))
    }))
}

fn start() -> Result<(Endpoint, Server), Failed> {
    let server = grpc::start()?;
    Ok((Endpoint::from_shared(format!("http://{}", server.address()))?, server))
}

async fn check(client: &mut HealthClient<Channel>) -> Result<(), Failed> {
    client.check(HealthCheckRequest::default()).await?;
    Ok(())
}
