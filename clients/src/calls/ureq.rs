//! ureq, which blocks.

use tokio::task::block_in_place;
use ureq::Agent;

use super::pool;
use crate::plain::{Call, Case, Failed, Server, Wait, call};
use crate::servers::http;

pub(super) const CASES: &[Case] = &[
    Case::new("ureq.fresh", "GET over a new connection", Wait::Blocks, || Box::pin(fresh())),
    Case::new("ureq.pooled", "GET over a connection that is kept alive", Wait::Blocks, || {
        Box::pin(pooled())
    }),
    Case::new("ureq.block_in_place", "GET inside of `block_in_place`", Wait::Blocks, || {
        Box::pin(in_place())
    }),
];

async fn fresh() -> Result<Call, Failed> {
    let (agent, server) = start()?;
    Ok(call(async move {
        get(&agent, &server)?;
        Ok((agent, server))
    }))
}

async fn pooled() -> Result<Call, Failed> {
    let (agent, server) = start()?;
    get(&agent, &server)?;
    Ok(call(async move {
        pool::reuse(&server, async { get(&agent, &server) }).await?;
        Ok((agent, server))
    }))
}

async fn in_place() -> Result<Call, Failed> {
    let (agent, server) = start()?;
    Ok(call(async move {
        block_in_place(|| get(&agent, &server))?;
        Ok((agent, server))
    }))
}

fn start() -> Result<(Agent, Server), Failed> {
    // A proxy of this machine's would not find the server.
    let agent = Agent::config_builder().proxy(None).build().new_agent();
    Ok((agent, http::start("hello")?))
}

/// Reads the body as well: only then the connection is free for the next request.
fn get(agent: &Agent, server: &Server) -> Result<(), Failed> {
    let url = format!("http://{}", server.address());
    agent.get(url).call()?.body_mut().read_to_string()?;
    Ok(())
}
