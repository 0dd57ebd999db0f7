//! The outbox, on all drivers: what is committed is delivered, whatever dies in between.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod asynchronous;
mod blocking;
mod crash;
mod joined;
mod lease;
mod locked;
mod marks;
mod plan;
mod shutdown;
mod signals;
mod workers;

mod driver;
mod post;
