//! A message that was written, and what the write did.

/// What `tx.outbox(…)` wrote: the key of the message, and whether it is a new one.
///
/// It holds once the transaction commits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WrittenMessage {
    pub(crate) key: String,
    pub(crate) effect: WriteEffect,
}

/// What a write did. In each case, a delivery that begins after the COMMIT covers it.
#[expect(clippy::exhaustive_enums, reason = "a key is free, in use or dead")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteEffect {
    /// There was no message of this topic and key, and now there is one.
    Inserted,
    /// There was one, and its payload was replaced. It was waiting, and is delivered once for both writes; or it was in
    /// delivery, and is delivered again after that.
    Joined,
    /// There was a dead one. Its payload was replaced, and it is delivered as if it were new.
    Revived,
}

impl WrittenMessage {
    /// Its key: the caller's own, or the one that was made.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Takes the key out.
    #[must_use]
    pub fn into_key(self) -> String {
        self.key
    }

    /// What the write did.
    #[must_use]
    pub fn effect(&self) -> WriteEffect {
        self.effect
    }
}
