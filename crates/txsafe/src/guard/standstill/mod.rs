//! Transactions that stand still: what they wait for can't come, because of what they hold.
//!
//! A wait that never ends has no end to be told at. So a transaction says what it waits for (`standing`), and the thread that
//! looks names up has a look at those that have waited for long (`look`): whether all connections of a pool are held by
//! transactions that wait for one (`circle`), or whether the server says that a transaction waits for its own locks
//! (`own_lock`, and `blocked` of a thread). Who holds connections is known of all transactions of this process (`live`).
//!
//! One that idles is ended by the server, after a time. A thread of its own tells of it before (`idle`), in production, too.

#[cfg(feature = "origins")]
mod blocked;
#[cfg(feature = "origins")]
mod circle;
mod idle;
mod live;
#[cfg(feature = "origins")]
mod look;
#[cfg(feature = "origins")]
mod own_lock;
#[cfg(feature = "origins")]
mod standing;
mod timed_out;

pub(super) use self::live::Live;
pub use self::timed_out::checkout_timed_out;
#[cfg(feature = "origins")]
pub(super) use self::{
    blocked::Blocked, live::is_any as is_any_live, look::look, own_lock::Inquiry,
    standing::Standing,
};
