//! Real clients against servers of our own: what a guard of transactions has to see.
//!
//! [`all`] lists the cases. Each makes one call: [`Case::prepare`] does what comes before it, the [`Call`] is a future
//! for the inside of a transaction.

mod calls;
pub mod plain;
pub mod servers;

pub use plain::{ANSWER_DELAY, Call, Case, Failed, Left, Wait, answer_slowly};

/// All cases, those of clients first.
pub fn all() -> impl Iterator<Item = &'static Case> {
    calls::all().chain(plain::all())
}
