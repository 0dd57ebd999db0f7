//! One suite for all drivers of txsafe.

#![forbid(unsafe_code)]
#![expect(clippy::exhaustive_enums, reason = "not published: the suite names every variant")]

pub mod cases;
pub mod cli;
pub mod drivers;
pub mod error;
pub mod findings;
pub mod matrix;
pub mod policy;
pub mod report;
pub mod script;
pub mod shop;
pub mod storm;
pub mod traps;
