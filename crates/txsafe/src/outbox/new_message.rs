//! A message that is to be written.

use crate::{invalid::InvalidSetting, name};
use std::{fmt, time::Duration};

/// The longest key, in bytes: like that of a transaction, it is part of an index.
const LONGEST_KEY: usize = 512;

/// The largest payload, in bytes. Workers hold as many as they deliver at once.
const LARGEST_PAYLOAD: usize = 1 << 20;

/// The longest delay.
const LONGEST_DELAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A message that is to be written into the outbox, with what `tx.outbox(topic, payload)` leaves at its default.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use txsafe::NewMessage;
///
/// let reminder = NewMessage::new("reminder", r#"{"order": 7}"#)
///     .key("reminder of order 7")
///     .delay(Duration::from_secs(3_600));
/// assert!(reminder.validate().is_ok());
/// assert!(NewMessage::new("", "{}").validate().is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use = "it is written by `tx.outbox_message`"]
pub struct NewMessage {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) key: Option<String>,
    pub(crate) delay: Duration,
}

impl NewMessage {
    /// A message of `topic`, which decides who delivers it. `payload` is text, JSON usually.
    pub fn new(topic: impl Into<String>, payload: impl Into<String>) -> Self {
        let (topic, payload) = (topic.into(), payload.into());
        Self { topic, payload, key: None, delay: Duration::ZERO }
    }

    /// The key by which its receiver recognises it: 1 to 512 bytes. Default: a random UUID.
    ///
    /// If the outbox has a message of this topic and key, the write joins it, or revives it if it is dead: it gets this
    /// payload, and a delivery that begins after the COMMIT covers both writes. See [`WriteEffect`](crate::WriteEffect).
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// It isn't delivered before so much time has passed, from now on. If it joins one that is due earlier, it is delivered
    /// with that. Default: none.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Checks what can be checked before the server is asked.
    ///
    /// # Errors
    /// Names what can't be meant, and the cure.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let invalid = |setting, value: String, cure| Err(InvalidSetting::new(setting, value, cure));
        name::check_topic(&self.topic)?;
        if self.payload.len() > LARGEST_PAYLOAD {
            let value = format!("{} bytes long", self.payload.len());
            let cure = "the largest is 1 MiB: keep it in a table, and send what it is found by";
            return invalid("payload", value, cure);
        }
        let key = self.key.as_deref();
        if key.is_some_and(str::is_empty) {
            let cure = "it tells messages apart: give one, or leave it to be made";
            return invalid("key", "\"\"".into(), cure);
        }
        if let Some(key) = key.filter(|key| key.len() > LONGEST_KEY) {
            let cure = "the longest is 512 bytes: take a hash of it";
            return invalid("key", format!("{} bytes long", key.len()), cure);
        }
        for (setting, text) in [("payload", Some(self.payload.as_str())), ("key", key)] {
            if text.is_some_and(|text| text.contains('\0')) {
                return invalid(
                    setting,
                    "text with a NUL".into(),
                    "PostgreSQL's text can't hold it",
                );
            }
        }
        if self.delay > LONGEST_DELAY {
            return invalid("delay", format!("{:?}", self.delay), "a year is the longest");
        }
        Ok(())
    }
}

/// Without the payload, which is nobody's business.
impl fmt::Debug for NewMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewMessage")
            .field("topic", &self.topic)
            .field("key", &self.key)
            .field("delay", &self.delay)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_told_before_the_server_is_asked() {
        let new = |topic, payload: &str| NewMessage::new(topic, payload);
        let large = "x".repeat(LARGEST_PAYLOAD + 1);
        for (message, parts) in [
            (new("", "x"), ["`topic`", "worker"]),
            (new("a\nb", "x"), ["`topic`", "control"]),
            (new("t", "x\0"), ["`payload`", "NUL"]),
            (new("t", &large), ["`payload`", "1 MiB"]),
            (new("t", "x").key(""), ["`key`", "leave it"]),
            (new("t", "x").key("\0"), ["`key`", "NUL"]),
            (new("t", "x").key("x".repeat(513)), ["`key`", "hash"]),
            (new("t", "x").delay(Duration::MAX), ["`delay`", "a year"]),
        ] {
            let told = message.validate().unwrap_err().to_string();
            assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        }
        assert!(!format!("{:?}", new("t", "secret")).contains("secret"));
    }
}
