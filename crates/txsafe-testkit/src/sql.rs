use std::panic;
use std::thread;
use std::time::Duration;

use tokio_postgres::{Config, NoTls};

use crate::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs `statements` on a connection of their own and waits for them.
///
/// The thread and its runtime are our own, so this works in a destructor, inside somebody's runtime
/// and without one.
pub(crate) fn execute(url: &str, statements: &str) -> Result<(), Error> {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|source| Error::caused("no tokio runtime could be made", source))?;
            runtime
                .block_on(connect_and_execute(url, statements))
                .map_err(|source| Error::caused(format!("`{statements}` failed"), source))
        });
        worker.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}

async fn connect_and_execute(url: &str, statements: &str) -> Result<(), tokio_postgres::Error> {
    let mut config: Config = url.parse()?;
    config.connect_timeout(CONNECT_TIMEOUT);
    let (client, connection) = config.connect(NoTls).await?;
    let driver = tokio::spawn(connection);
    let result = client.batch_execute(statements).await;
    // The driver ends once it has said good-bye to the server, so no backend lingers.
    drop(client);
    let _ = driver.await;
    result
}
