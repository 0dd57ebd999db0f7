//! The outbox, on all drivers: what is committed is delivered, whatever dies in between.

mod asynchronous;
mod blocking;
mod crash;
mod joined;
mod lease;
mod locked;
mod marks;
mod plan;
mod rerun;
mod shutdown;
mod signals;
mod workers;

mod driver;
mod post;
mod pulse;
