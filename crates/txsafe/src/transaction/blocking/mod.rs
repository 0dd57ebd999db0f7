//! The blocking twins: of the database, of the options of one call, and of the run loop.

pub(crate) mod attempts;
pub(crate) mod configured;
pub(crate) mod database;
mod finish;
#[cfg(feature = "tokio")]
pub(crate) mod interact;
pub(crate) mod owned_tx;
pub(crate) mod run;
mod start;
pub(crate) mod transact;
pub(crate) mod work;
