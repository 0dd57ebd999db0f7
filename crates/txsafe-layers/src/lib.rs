#![cfg_attr(
    all(feature = "axum", feature = "reqwest-middleware", feature = "tower", feature = "tracing"),
    doc = include_str!("../README.md")
)]
#![cfg_attr(
    not(all(
        feature = "axum",
        feature = "reqwest-middleware",
        feature = "tower",
        feature = "tracing"
    )),
    doc = "Layers for txsafe: one transaction for each request of axum, and reports of clients' calls to the guard; the README is shown with all features."
)]
#![forbid(unsafe_code)]

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "reqwest-middleware")]
mod reqwest;
#[cfg(feature = "tower")]
mod tower;
#[cfg(feature = "tracing")]
mod tracing;

#[cfg(feature = "axum")]
pub use self::axum::{
    answer::Answer,
    idempotency_key::{IdempotencyKey, InvalidIdempotencyKey},
    transaction::{
        error::{RequestTxError, RequestTxErrorKind},
        layer::{RequestTransaction, TransactionLayer},
        request_tx::{RequestDatabase, RequestTx},
        route::{RouteTransaction, RouteTransactionLayer},
    },
};
#[cfg(feature = "reqwest-middleware")]
pub use self::reqwest::ExternalMiddleware;
#[cfg(feature = "tower")]
pub use self::tower::{External, ExternalLayer};
#[cfg(feature = "tracing")]
pub use self::tracing::ClientEvents;
