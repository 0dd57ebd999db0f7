//! What tells one attempt's transaction from every other one of its session.

/// What tells one attempt's transaction from every other one of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(String);

/// What a database answered to the question of a [`Mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the run loops must handle each")]
pub enum Identity {
    /// The transaction that was begun is still open.
    Ours,
    /// Something of it was committed, whatever is open now.
    Committed,
    /// It isn't open, and nothing of it was committed by a statement that left it.
    NotOpen,
}

impl Mark {
    /// Of the attempt that drew this number.
    pub(crate) fn new(number: u64) -> Self {
        Self(format!("{number:016x}"))
    }

    /// The number, in 16 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
