//! For handlers of axum: the transaction and the idempotency key of a request, and the response to a failed transaction.

pub(crate) mod answer;
pub(crate) mod idempotency_key;
pub(crate) mod transaction;
