#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

/// The guide to the outbox, whose example needs a driver.
#[cfg_attr(doctest, doc = include_str!("../crates/txsafe/docs/outbox.md"))]
pub mod outbox {}
