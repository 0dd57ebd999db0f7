//! Isolation levels.

use crate::invalid::InvalidSetting;
use std::str::FromStr;

/// The isolation level of a transaction. Source: PostgreSQL manual, section 13.2, "Transaction Isolation".
///
/// # Examples
/// ```
/// use txsafe::Isolation;
///
/// assert_eq!("repeatable read".parse(), Ok(Isolation::RepeatableRead));
/// let error = "snapshot".parse::<Isolation>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "`isolation` can't be `snapshot`: use `read committed`, `repeatable read` or `serializable`",
/// );
/// ```
#[expect(
    clippy::exhaustive_enums,
    reason = "the SQL standard's levels that PostgreSQL tells apart"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Each statement sees what was committed before it began.
    ReadCommitted,
    /// All statements see what was committed before the first one; conflicting writes fail with `40001`.
    RepeatableRead,
    /// As if transactions ran one after another; what can't be ordered fails with `40001`, also at COMMIT.
    Serializable,
}

impl Isolation {
    /// The level as it is written in SQL.
    #[must_use]
    pub fn as_sql(self) -> &'static str {
        match self {
            Self::ReadCommitted => "READ COMMITTED",
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        }
    }
}

impl FromStr for Isolation {
    type Err = InvalidSetting;

    fn from_str(level: &str) -> Result<Self, InvalidSetting> {
        let words = level.to_ascii_lowercase().replace(['_', '-'], " ");
        match words.trim() {
            "read committed" => Ok(Self::ReadCommitted),
            "repeatable read" => Ok(Self::RepeatableRead),
            "serializable" => Ok(Self::Serializable),
            _ => Err(InvalidSetting::new(
                "isolation",
                format!("`{level}`"),
                "use `read committed`, `repeatable read` or `serializable`",
            )),
        }
    }
}
