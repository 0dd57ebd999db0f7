//! The third layer: effects. The two run loops, what they need of a driver, hooks and events.

pub mod account;
#[cfg(feature = "tokio")]
pub mod alarm;
pub mod blocking;
pub mod builder;
pub mod call;
pub mod closure;
pub mod configured;
mod course;
pub mod database;
mod doubt;
pub mod driver;
mod ending;
mod events;
mod gauges;
pub mod hooks;
mod identity;
mod idle;
pub mod lock;
pub mod lock_set;
mod meters;
pub mod outbox;
mod postmortem;
mod progress;
mod reached;
pub mod run;
pub mod session;
pub mod shared;
#[cfg(feature = "tokio")]
pub mod shield;
mod story;
pub mod verify;
mod watched;
mod work;
