//! The core without a driver: one script, played by both run loops.

mod loops;
mod script;
