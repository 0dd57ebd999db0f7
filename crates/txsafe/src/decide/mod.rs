//! The first layer: decisions, made in pure code.
//!
//! Nothing here does I/O, reads a clock or throws dice. The modules are told the failure, the attempt, the elapsed
//! time and the dice, and they answer.

pub mod begin;
pub mod budget;
pub(crate) mod cure;
pub mod deadlock;
pub(crate) mod delivery;
pub mod failure;
pub mod invalid;
pub mod leaving;
pub mod mark;
pub mod options;
pub mod patience;
pub mod remedy;
pub mod retry;
pub mod session_state;
pub mod settings;
pub mod sqlstate;
mod words;
