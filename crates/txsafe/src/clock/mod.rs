//! Time, and where it goes.

pub(crate) mod excused;
pub(crate) mod times;
