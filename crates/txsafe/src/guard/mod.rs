// Its examples need a driver, and are compiled where there is one: by the package `txsafe-tests`.
#![cfg_attr(not(doctest), doc = include_str!("../../docs/guard.md"))]

pub mod allow;
pub(crate) mod by_hand;
pub mod code;
pub(crate) mod code_that_runs;
pub mod connection;
mod day;
mod events;
pub mod finding;
pub mod findings;
pub mod gaps;
pub mod handle;
pub(crate) mod heard;
pub(crate) mod holding;
mod kept;
#[cfg(feature = "origins")]
mod late;
pub mod marker;
pub(crate) mod noticed;
#[cfg(feature = "origins")]
mod origin;
pub mod policy;
pub mod pool;
pub mod rehearsal;
pub(crate) mod report;
pub mod rerun;
pub mod scope;
pub mod second;
pub(crate) mod session_state;
pub mod standstill;
pub mod system;
pub(crate) mod takers;
mod thread;
pub mod todo;
mod wake;
pub mod within;

pub use self::{
    allow::Allow,
    code::Code,
    finding::{Finding, Site},
    findings::Findings,
    handle::{Handle, current},
    heard::note_first_external_call,
    marker::{
        AllowExternalIo, ExternalIo, allow_external_io, allow_external_io_blocking, external_io,
        external_io_blocking, external_io_in_layer, note_external_call,
    },
    policy::{Policy, Severity},
    rehearsal::Rehearsal,
    scope::in_transaction,
    second::connection_taken,
    standstill::checkout_timed_out,
    system::{note_send, note_system_call},
};
pub use crate::clock::times::Times;

/// Marks a function as a call of something outside, whatever it does: the attribute to the function of the same name.
///
/// It goes on async functions, blocking ones, and those that return a future, be they free, in an `impl`, or default
/// methods of traits; of a trait whose methods have no body, on those that implement it, mocks included. It takes the name
/// of the call, or that of the function.
///
/// Of a type that is a future and doesn't say so (neither `impl Future` nor `Pin<Box<dyn Future>>` nor `BoxFuture`) it
/// doesn't know: what is marked is then that it is made.
///
/// # Examples
/// ```
/// use txsafe::guard::external_io;
///
/// struct Stripe;
///
/// impl Stripe {
///     #[external_io("stripe.charge")]
///     async fn charge(&self, cents: u32) -> Result<u32, &'static str> {
///         if cents == 0 {
///             return Err("nothing to charge");
///         }
///         Ok(cents)
///     }
///
///     #[external_io]
///     fn ping(&self) -> bool {
///         true
///     }
/// }
///
/// # futures_util::future::FutureExt::now_or_never(async {
/// assert_eq!(Stripe.charge(30_00).await, Ok(30_00));
/// assert!(Stripe.ping());
/// # }).unwrap();
/// ```
#[doc(inline)]
pub use txsafe_macros::__external_io_txsafe as external_io;

pub mod session_log;
