//! What handlers of axum take from a request, and answer when a transaction failed.

pub(crate) mod answer;
pub(crate) mod idempotency_key;
