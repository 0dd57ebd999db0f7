//! What handlers of axum take from a request, its transaction among it, and answer when a transaction failed.

pub(crate) mod answer;
pub(crate) mod idempotency_key;
pub(crate) mod transaction;
