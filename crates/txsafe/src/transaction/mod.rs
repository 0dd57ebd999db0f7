//! The life of a transaction: a database and its options, the two run loops, and what becomes of a COMMIT.

pub(crate) mod attempts;
pub(crate) mod blocking;
pub(crate) mod builder;
pub(crate) mod call;
pub(crate) mod configured;
mod course;
pub(crate) mod cure;
pub(crate) mod database;
mod doubt;
mod ending;
mod identity;
mod idle;
pub(crate) mod keyed;
pub(crate) mod options;
pub(crate) mod owned_tx;
mod postmortem;
mod progress;
mod reached;
pub(crate) mod returned;
pub(crate) mod run;
pub(crate) mod settings;
pub(crate) mod shared;
mod story;
pub(crate) mod transact;
pub(crate) mod verify;
mod watched;
pub(crate) mod work;
