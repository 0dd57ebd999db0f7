//! One suite for all drivers of txsafe.

#![expect(clippy::exhaustive_enums, reason = "not published: the suite names every variant")]

pub mod drivers;
pub mod error;
pub mod script;
pub mod shop;
