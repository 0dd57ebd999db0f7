//! The code of a failure, in the form that its database has for codes.

use super::sqlstate::SqlState;
use std::fmt;

/// The code that a database gives a failure. `Display` writes what it is, too: "SQLSTATE 40P01", "code 517".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// One of the SQL standard's form.
    SqlState(SqlState),
    /// A number of the database's own.
    Vendor(i32),
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SqlState(code) => write!(f, "SQLSTATE {code}"),
            Self::Vendor(code) => write!(f, "code {code}"),
        }
    }
}
