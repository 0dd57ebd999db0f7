//! A message on its way, and one that was given up.

use std::{fmt, sync::Arc, time::Duration};

/// A message of the outbox, as its handler gets it.
///
/// **It may come more than once**: a worker that ends between delivery and mark leaves it to the next one. Hand its
/// [`key`](Self::key) on to whoever receives it; that is the same each time, and tells a repetition.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub(crate) topic: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) payload: String,
    pub(crate) attempt: u32,
    pub(crate) age: Duration,
}

impl Message {
    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its key: the same at every delivery.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its payload: that of the last write under its key.
    #[must_use]
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// Takes the payload out.
    #[must_use]
    pub fn into_payload(self) -> String {
        self.payload
    }

    /// The number of this attempt, from 1. A greater one may be a repetition. One that is delivered again because its key was
    /// written again begins at 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How old it was when it was claimed, by the server's clock: the age of the first write that no delivery has covered.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }
}

/// Without the payload, which is nobody's business.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("key", &self.key)
            .field("attempt", &self.attempt)
            .field("age", &self.age)
            .finish_non_exhaustive()
    }
}

/// A message that was given up after its last attempt, and stays until it is requeued or deleted.
#[derive(Clone, PartialEq, Eq)]
pub struct DeadMessage {
    pub(crate) message: Message,
    pub(crate) error: String,
}

impl DeadMessage {
    /// The message, with the number of its last attempt.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.message.key
    }

    /// What its last attempt failed with; long texts are cut.
    #[must_use]
    pub fn error(&self) -> &str {
        &self.error
    }
}

impl fmt::Debug for DeadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadMessage")
            .field("message", &self.message)
            .field("error", &self.error)
            .finish()
    }
}
