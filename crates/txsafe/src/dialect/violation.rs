//! Which kind of constraint a failure is about.

use super::{error_code::ErrorCode, failure::Failure, postgres, sqlite};

/// The kind of a constraint that was violated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// Of a unique index or a primary key.
    Unique,
    /// Of a foreign key.
    ForeignKey,
    /// Of a foreign key that restricts what it refers to.
    Restrict,
    /// Of `NOT NULL`.
    NotNull,
    /// Of `CHECK`.
    Check,
    /// Of `EXCLUDE`.
    Exclusion,
}

/// Which kind of constraint was violated, as far as the code of `failure` tells.
#[must_use]
pub fn violation(failure: &Failure) -> Option<Violation> {
    match failure.code()? {
        ErrorCode::SqlState(code) => postgres::codes::violation(code),
        ErrorCode::Vendor(code) => sqlite::codes::violation(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::sqlstate::SqlState;

    #[test]
    fn codes_tell_the_kind() {
        let of_postgres = |code| violation(&Failure::refused(SqlState::new(code).unwrap(), ""));
        let of_sqlite = |code| violation(&sqlite::failure(code, ""));
        for (code, extended, kind) in [
            ("23505", 2067, Violation::Unique),
            ("23505", 1555, Violation::Unique),
            ("23503", 787, Violation::ForeignKey),
            ("23502", 1299, Violation::NotNull),
            ("23514", 275, Violation::Check),
        ] {
            assert_eq!((of_postgres(code), of_sqlite(extended)), (Some(kind), Some(kind)));
        }
        assert_eq!(of_postgres("23P01"), Some(Violation::Exclusion));
        assert_eq!(of_postgres("23001"), Some(Violation::Restrict));
        assert_eq!((of_postgres("40001"), of_sqlite(5)), (None, None));
    }
}
