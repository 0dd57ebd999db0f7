//! Names of what is made on a server for a test.

use std::iter;

/// As much of a hint as fits, in letters that need no quotes in SQL.
pub(crate) fn plain(hint: &str, longest: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    hint.chars().map(plain).take(longest).collect()
}

/// Letters that make a name unlike any other.
pub(crate) fn random(length: usize) -> String {
    iter::repeat_with(|| fastrand::char('a'..='z')).take(length).collect()
}
