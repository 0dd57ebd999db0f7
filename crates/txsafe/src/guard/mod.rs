//! What is seen while a transaction runs, besides its database: calls of other services, lost time, second connections.
//!
//! A transaction holds its locks for as long as it is open. Whatever it waits for meanwhile, everybody waits for who
//! wants the same rows. The guard tells of it, as [`Finding`]s with a code and the place; how much it
//! looks at, and what follows, is said by a [`Policy`].

pub mod allow;
pub mod code;
pub mod connection;
mod events;
pub mod finding;
pub mod gaps;
mod heard;
pub mod marker;
#[cfg(feature = "origins")]
mod origin;
pub mod policy;
pub mod rehearsal;
pub(crate) mod report;
pub mod scope;
pub mod second;
mod thread;
mod wake;
pub mod within;

pub use self::{
    allow::Allow,
    code::Code,
    finding::{Finding, Site},
    heard::note_first_external_call,
    marker::{
        AllowExternalIo, ExternalIo, allow_external_io, allow_external_io_blocking, external_io,
        external_io_blocking, external_io_in_layer, note_external_call,
    },
    policy::{Policy, Severity},
    rehearsal::Rehearsal,
    scope::{Handle, current, in_transaction},
};
pub use crate::hold::times::Times;
