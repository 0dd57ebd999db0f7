//! Connections that a client keeps for the next call.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::plain::{Failed, Server, hesitate};

/// Far more than putting a connection back takes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Does `exchange`, and waits until its connection is kept.
///
/// A client puts it back on a task of its own and tells nobody. So this waits until no more tasks live than before, and
/// the `staying` ones that serve the connection.
pub(super) async fn fill<E>(staying: usize, exchange: E) -> Result<(), Failed>
where
    E: Future<Output = Result<(), Failed>>,
{
    let tasks = Handle::current().metrics();
    let expected = tasks.num_alive_tasks() + staying;
    exchange.await?;

    // A task of somebody else's must not keep us for ever. `reuse` tells if this was too early.
    let begin = Instant::now();
    while tasks.num_alive_tasks() > expected && begin.elapsed() < PATIENCE {
        hesitate().await;
    }
    Ok(())
}

/// Does `exchange` over a connection that was there before.
pub(super) async fn reuse<E>(server: &Server, exchange: E) -> Result<(), Failed>
where
    E: Future<Output = Result<(), Failed>>,
{
    let before = server.connections();
    exchange.await?;
    if server.connections() == before { Ok(()) } else { Err("took a new connection".into()) }
}
