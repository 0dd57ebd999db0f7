//! Ctrl-C and its like.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;

/// Runs `work`, and drops it when the user or the system asks us to end.
pub(crate) async fn until_signalled<T>(
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        result = work => result,
        () = arrival_of(SignalKind::interrupt()) => Err(Error::Signalled { signal: 2 }),
        () = arrival_of(SignalKind::terminate()) => Err(Error::Signalled { signal: 15 }),
    }
}

async fn arrival_of(kind: SignalKind) {
    match signal(kind).as_mut().map(Signal::recv) {
        Ok(arrival) => drop(arrival.await),
        // Without a handler the signal ends the process by itself.
        Err(_) => std::future::pending().await,
    }
}
