//! PostgreSQL: the texts that it is sent, and what is read from the texts of others.

pub(crate) mod begin;
pub(crate) mod leaving;
pub(crate) mod mark;
pub(crate) mod session_state;
mod words;
