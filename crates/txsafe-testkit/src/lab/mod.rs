//! A wire that fails on demand: between your code and a real server, without a change to either.
//!
//! Each session has a port of its own, so that a fault meets just the code that connects there. What passes is read
//! as *units*: a simple query, or everything up to a Sync. A fault strikes a unit, and nothing else is in flight when
//! it does. Source: PostgreSQL manual, chapter 54, "Frontend/Backend Protocol".

mod fault;
mod locks;
mod message;
mod relay;
mod session;
mod unit;

pub use fault::{At, Fault};
pub use message::words_of;
pub use session::{Lab, LabSession};
