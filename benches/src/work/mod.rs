//! The transactions that are measured, guarded and bare, on each driver.

pub(crate) mod diesel;
pub(crate) mod diesel_async;
pub(crate) mod ordered;
pub(crate) mod outbox;
pub(crate) mod sqlx;
pub(crate) mod timed;

use crate::Result;
use tokio::runtime::{Builder, Runtime};

/// A runtime of one thread, on which variants disturb each other least.
pub(crate) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
