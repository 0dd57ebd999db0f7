//! AWS's SDK, asking who it is.

use aws_sdk_sts::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sts::{Client, Config};

use super::pool;
use crate::plain::{Call, Case, Failed, Server, Wait, call};
use crate::servers::sts;

pub(super) const CASES: &[Case] = &[
    Case::new("aws.fresh", "STS GetCallerIdentity over a new connection", Wait::Suspends, || {
        Box::pin(fresh())
    }),
    Case::new(
        "aws.pooled",
        "STS GetCallerIdentity over a connection that is kept alive",
        Wait::Suspends,
        || Box::pin(pooled()),
    ),
];

/// The tasks that stay: the connection's, and the one that closes what is idle.
const TASKS: usize = 2;

async fn fresh() -> Result<Call, Failed> {
    let (client, server) = start()?;
    Ok(call(async move {
        ask(&client).await?;
        Ok((client, server))
    }))
}

async fn pooled() -> Result<Call, Failed> {
    let (client, server) = start()?;
    pool::fill(TASKS, ask(&client)).await?;
    Ok(call(async move {
        pool::reuse(&server, ask(&client)).await?;
        Ok((client, server))
    }))
}

fn start() -> Result<(Client, Server), Failed> {
    let server = sts::start()?;
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(format!("http://{}", server.address()))
        .credentials_provider(Credentials::new("key", "secret", None, None, "loopback"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Ok((Client::from_conf(config), server))
}

async fn ask(client: &Client) -> Result<(), Failed> {
    let caller = client.get_caller_identity().send().await?;
    caller.account().map(drop).ok_or_else(|| "the caller has no account".into())
}
