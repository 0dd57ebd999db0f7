//! Events of `tracing` and metrics: what operators see.

pub(crate) mod events;
pub(crate) mod gauges;
pub(crate) mod limiter;
pub(crate) mod meters;
pub(crate) mod pool;
