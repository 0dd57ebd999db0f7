#![cfg_attr(not(doctest), doc = include_str!("../../../docs/outbox.md"))]

pub mod ask;
mod bell;
pub mod blocking;
mod claim;
mod events;
mod leases;
mod mark;
#[expect(
    clippy::module_inception,
    reason = "one file per concept, and this is the one of its name"
)]
pub mod outbox;
mod pace;
mod run;
pub mod store;
pub mod worker;
pub mod write;
