//! The blocking twins: of the database, of the options of one call, and of the run loop.

pub(crate) mod attempts;
pub(crate) mod configured;
pub(crate) mod database;
#[cfg(feature = "tokio")]
pub(crate) mod interact;
pub(crate) mod owned_tx;
pub(crate) mod run;
pub(crate) mod transact;
pub(crate) mod work;
