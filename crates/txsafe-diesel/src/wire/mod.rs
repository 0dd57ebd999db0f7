//! What a connection says of itself, read off its wire.
//!
//! Diesel hides the SQLSTATE, the transaction status and the command tag; the protocol carries all three in every
//! answer. The stream under `tokio-postgres` is wrapped: bytes pass through unchanged, and on the way a handful of
//! message types are read. So it doesn't matter through which reference a statement was sent, what a caller made of
//! its error, or in which language the server speaks.

mod asked;
mod attempt;
pub(crate) mod frames;
#[cfg(test)]
mod fuzz;
pub(crate) mod link;
pub(crate) mod negotiate;
mod passed;
pub(crate) mod said;
pub(crate) mod stream;
mod watched;
