//! PostgreSQL: the texts that it is sent, and what is read from the texts of others.

pub(crate) mod begin;
pub(crate) mod codes;
pub(crate) mod leaving;
pub(crate) mod locks;
pub(crate) mod mark;
pub mod messages;
pub(crate) mod session_state;
mod words;
