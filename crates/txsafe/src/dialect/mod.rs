//! What a database is asked and what it answers. Everything here is pure: no I/O, no clock, no dice.

pub(crate) mod begin;
pub(crate) mod condition;
pub(crate) mod deadlock;
pub(crate) mod failure;
pub(crate) mod isolation;
pub(crate) mod postgres;
pub(crate) mod sqlstate;
