#![cfg_attr(not(doctest), doc = include_str!("../../docs/outbox.md"))]

pub mod ask;
mod bell;
pub mod blocking;
mod changed;
mod claim;
mod events;
pub mod handle;
mod leases;
mod mark;
mod pace;
mod run;
pub mod store;
mod unmarked;
pub mod worker;
pub mod write;

pub mod backlog;
pub(crate) mod delivery;
pub mod message;
pub mod new_message;
pub mod table;
pub mod written_message;
