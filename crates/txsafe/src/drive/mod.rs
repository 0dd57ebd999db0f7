//! The third layer: effects. The two run loops, what they need of a driver, hooks and events.

pub mod account;
pub mod blocking;
pub mod builder;
pub mod call;
pub mod closure;
mod course;
mod doubt;
mod ending;
mod events;
pub mod hooks;
mod meters;
mod progress;
pub mod run;
pub mod session;
pub mod shared;
#[cfg(feature = "tokio")]
pub mod shield;
mod story;
pub mod verify;
