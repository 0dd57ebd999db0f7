#![cfg_attr(not(doctest), doc = include_str!("../../docs/outbox.md"))]

pub mod ask;
pub mod backlog;
mod bell;
pub mod blocking;
mod changed;
mod claim;
pub(crate) mod delivery;
mod events;
pub mod handle;
mod leases;
mod mark;
pub mod message;
pub mod new_message;
mod pace;
mod run;
pub mod store;
pub mod table;
mod unmarked;
pub mod worker;
pub mod write;
pub mod written_message;
