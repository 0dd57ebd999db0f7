//! The limits that a session has of its own, before a transaction sets any.

use std::time::Duration;

/// The limits that a session has of its own: by the settings of its role, its database or its server, by its URL, or by a SET.
/// `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a dialect reads them all")]
pub struct Limits {
    /// The longest that a statement waits for one lock.
    pub lock_timeout: Option<Duration>,
    /// The longest that one statement runs.
    pub statement_timeout: Option<Duration>,
    /// The longest that a transaction sends nothing.
    pub idle_in_transaction_session_timeout: Option<Duration>,
    /// The longest that a transaction runs.
    pub transaction_timeout: Option<Duration>,
}

/// The limit that holds for one thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Limit {
    /// It is txsafe's, set for the transaction.
    Ours(Duration),
    /// It is the session's own.
    Sessions(Duration),
    /// There is none.
    Never,
    /// The session's own was left in force, and it isn't known.
    #[default]
    Unknown,
}

impl Limit {
    /// The smaller of ours and the session's. `ours` is `None` where it is left to the session, and `theirs` where it isn't
    /// known.
    pub(crate) fn smaller(ours: Option<Duration>, theirs: Option<Option<Duration>>) -> Self {
        match (ours, theirs) {
            (Some(ours), Some(Some(theirs))) if theirs <= ours => Self::Sessions(theirs),
            (Some(ours), _) => Self::Ours(ours),
            (None, Some(Some(theirs))) => Self::Sessions(theirs),
            (None, Some(None)) => Self::Never,
            (None, None) => Self::Unknown,
        }
    }

    /// What is to be set for the transaction; nothing where the session's own holds.
    pub(crate) fn to_set(self) -> Option<Duration> {
        match self {
            Self::Ours(ours) => Some(ours),
            Self::Sessions(_) | Self::Never | Self::Unknown => None,
        }
    }

    /// How long it is, where it is known and there is one.
    pub(crate) fn duration(self) -> Option<Duration> {
        match self {
            Self::Ours(limit) | Self::Sessions(limit) => Some(limit),
            Self::Never | Self::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_one_holds_and_only_ours_is_set() {
        let ms = |ms| Some(Duration::from_millis(ms));
        for (ours, theirs, limit, to_set) in [
            (ms(20), Some(ms(50)), Limit::Ours(Duration::from_millis(20)), ms(20)),
            (ms(20), Some(ms(5)), Limit::Sessions(Duration::from_millis(5)), None),
            (ms(20), Some(ms(20)), Limit::Sessions(Duration::from_millis(20)), None),
            (ms(20), Some(None), Limit::Ours(Duration::from_millis(20)), ms(20)),
            (ms(20), None, Limit::Ours(Duration::from_millis(20)), ms(20)),
            (None, Some(ms(5)), Limit::Sessions(Duration::from_millis(5)), None),
            (None, Some(None), Limit::Never, None),
            (None, None, Limit::Unknown, None),
        ] {
            let smaller = Limit::smaller(ours, theirs);
            assert_eq!((smaller, smaller.to_set()), (limit, to_set), "{ours:?}, {theirs:?}");
        }
    }
}
