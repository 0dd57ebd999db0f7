//! How many messages there are.

use std::time::Duration;

/// How many messages of a topic there are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// The topic.
    pub topic: String,
    /// Those that are due, or will be.
    pub waiting: u64,
    /// Those that a worker has.
    pub in_delivery: u64,
    /// Those that were given up.
    pub dead: u64,
    /// How long the one that is due longest has been so. It grows where no worker knows the topic, or none keeps up.
    pub lag: Duration,
}
