//! How a transaction ended, honestly.

/// How a transaction ended.
#[expect(clippy::exhaustive_enums, reason = "there is no fourth way to end")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The server confirmed COMMIT.
    Committed,
    /// Nothing of it remains.
    RolledBack,
    /// The answer to COMMIT was lost, and nothing says which of the two it is.
    Unknown,
}

impl Outcome {
    /// The word in lower case, as metrics and events carry it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Unknown => "unknown",
        }
    }
}
