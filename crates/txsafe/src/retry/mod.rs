//! Whether a failed attempt is followed by another one, when, and at whose cost. Pure.

pub(crate) mod budget;
pub(crate) mod patience;
pub(crate) mod policy;
pub(crate) mod remedy;
