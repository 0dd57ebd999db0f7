//! The blocking twins: of the database, of the options of one call, and of the run loop.

pub(crate) mod configured;
pub(crate) mod database;
#[cfg(feature = "tokio")]
pub(crate) mod interact;
pub(crate) mod run;
pub(crate) mod work;
