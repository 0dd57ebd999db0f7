//! A message that this worker has leased.

use super::message::{DeadMessage, Message};
use crate::{clock, error::Error};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A message that this worker has leased; for most of its life without the payload, which is its handler's.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) message: Message,
    /// What tells this lease from any other one of the message.
    pub(super) lease: String,
    /// When it was asked for: before the server began to count, so that no worker takes its lease for longer than it is.
    pub(super) since: Instant,
}

impl Claim {
    pub(super) fn read(row: Vec<String>, since: Instant) -> Self {
        let (message, lease) = read(row);
        Self { message, lease, since }
    }

    /// Whether most of the lease is over, so that there may be no time to renew it in.
    pub(super) fn is_late(&self, lease: Duration) -> bool {
        clock::since(self.since) > lease / 4 * 3
    }

    /// The message for its handler; its payload is moved there.
    pub(super) fn hand_over(&mut self) -> Message {
        let payload = std::mem::take(&mut self.message.payload);
        Message { payload, ..self.message.clone() }
    }
}

impl DeadMessage {
    pub(super) fn read(row: Vec<String>) -> Self {
        let (message, error) = read(row);
        Self { message, error }
    }
}

/// A message, and what stands behind it in its row.
fn read(row: Vec<String>) -> (Message, String) {
    let Ok([topic, key, payload, attempts, age, last]) = <[String; 6]>::try_from(row) else {
        unreachable!("the statements return six");
    };
    let message = Message {
        topic: topic.into(),
        key: Arc::from(key),
        payload,
        attempt: attempts.parse().unwrap_or(u32::MAX),
        age: milliseconds(&age),
    };
    (message, last)
}

/// Whether a claim that failed is worth another one: a server that is away comes back. What was leased by a COMMIT whose
/// answer was lost waits for the lease's end.
pub(super) fn is_passing(error: &Error) -> bool {
    error.is_transient() || error.is_commit_unknown()
}

/// A duration in an answer; a clock that was set back makes it zero.
pub(super) fn milliseconds(text: &str) -> Duration {
    Duration::from_millis(text.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_goes_with_the_message_and_the_rest_stays() {
        let row = ["receipt", "7", "{}", "2", "1500", "lease"].map(String::from).to_vec();
        let mut claim = Claim::read(row, Instant::now());
        let message = claim.hand_over();
        assert_eq!((message.payload(), message.attempt()), ("{}", 2));
        assert_eq!(message.age(), Duration::from_millis(1_500));
        assert_eq!(
            (claim.message.key(), claim.message.payload(), &*claim.lease),
            ("7", "", "lease")
        );
    }
}
