use std::panic;

use tokio::task;

use crate::Error;

/// Runs blocking `work` where it may block; its panic goes on in the caller.
pub(crate) async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failure) => match failure.try_into_panic() {
            Ok(payload) => panic::resume_unwind(payload),
            Err(cancelled) => Err(Error::caused(
                "the tokio runtime is shutting down; keep it running until the server is in use",
                cancelled,
            )),
        },
    }
}
