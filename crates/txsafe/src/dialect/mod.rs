//! The texts that txsafe sends to a database, and how it reads the answers. Everything here is pure: no I/O, no clock, no dice.

pub(crate) mod begin;
pub(crate) mod condition;
pub(crate) mod deadlock;
pub(crate) mod failure;
pub(crate) mod isolation;
pub(crate) mod postgres;
pub(crate) mod sqlstate;
