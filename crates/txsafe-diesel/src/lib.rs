#![cfg_attr(all(feature = "async", feature = "deadpool-diesel"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "async", feature = "deadpool-diesel")),
    doc = "Guarded, retrying transactions for Diesel on PostgreSQL; the README is shown with all features."
)]
#![forbid(unsafe_code)]

#[cfg(any(feature = "async", feature = "blocking"))]
mod asked;
#[cfg(any(feature = "async", feature = "blocking"))]
mod binds;
#[cfg(feature = "blocking")]
pub mod blocking;
#[cfg(feature = "async")]
mod checkout;
#[cfg(any(feature = "async", feature = "blocking"))]
mod commit;
#[cfg(feature = "async")]
mod commit_async;
#[cfg(feature = "async")]
mod connect;
#[cfg(any(feature = "async", feature = "deadpool-diesel"))]
mod deadpools;
#[cfg(any(feature = "async", feature = "blocking"))]
mod depth;
#[cfg(feature = "async")]
mod driver;
#[cfg(any(feature = "async", feature = "blocking"))]
mod driver_error;
#[cfg(any(feature = "async", feature = "blocking"))]
mod failure;
pub mod guard;
#[cfg(feature = "async")]
mod held;
#[cfg(feature = "async")]
mod instrumentation;
#[cfg(any(feature = "async", feature = "blocking"))]
mod observer;
#[cfg(feature = "async")]
mod outbox;
#[cfg(feature = "async")]
mod refused;
#[cfg(any(feature = "async", feature = "blocking"))]
mod row;
#[cfg(feature = "async")]
mod savepoint;
#[cfg(feature = "async")]
mod session;
#[cfg(any(feature = "async", feature = "blocking"))]
mod told;
#[cfg(feature = "async")]
mod tx;
#[cfg(feature = "async")]
mod wire;
#[cfg(feature = "async")]
mod write;

#[cfg(feature = "async")]
pub use {
    connect::{cancel_request, connect, manager, manager_with},
    driver::{Attempts, Configured, Database, Driver, KeyedAttempts, OwnedTx, WithKey},
    held::Held,
    instrumentation::chain_instrumentation,
    outbox::OutboxWorker,
    tx::{Transact, Tx},
};

#[cfg(all(feature = "async", feature = "sandbox"))]
pub use driver::Sandbox;

#[cfg(any(feature = "async", feature = "blocking"))]
pub use {
    driver_error::{DriverError, error_behind},
    failure::failure_of,
    row::Row,
};

#[doc(inline)]
pub use txsafe::exports::*;
