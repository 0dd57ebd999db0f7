//! What is locked: ranks, and the row types that belong to them.

use super::key::LockKey;

/// A class of locks: the rows of one table. Declared by [`rank!`](crate::rank), once, next to the schema.
pub trait Rank: Sized + Send + Sync + 'static {
    /// The type of the key that tells its rows apart.
    type Key: LockKey;
    /// How messages call it.
    const NAME: &'static str;
    /// What is locked.
    const TARGET: Target;
}

/// What a rank locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// The rows of a table.
    Table {
        /// The table, with its schema before it where one is needed: `shop.orders`.
        name: &'static str,
        /// The column that tells its rows apart.
        key: &'static str,
    },
}

/// A row type, or a table type, that belongs to a rank. Declared by [`ranked!`](crate::ranked): a Diesel table, a Diesel
/// row and an SQLx row of one table all belong to one rank.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no lock rank",
    label = "has no rank",
    note = "add `ranked!({Self} => SomeRank)`, and give `SomeRank` a place in `lock_order!`"
)]
pub trait Ranked {
    /// Its rank.
    type Rank: Rank;
}

/// For `lock_order!`: refuses, when the program is compiled, two ranks of one order that lock the same rows.
#[doc(hidden)]
pub const fn assert_distinct(targets: &[Target], messages: &[&str]) {
    let mut second = 1;
    while second < targets.len() {
        let mut first = 0;
        while first < second {
            let Target::Table { name: one, .. } = targets[first];
            let Target::Table { name: other, .. } = targets[second];
            assert!(!equal(one.as_bytes(), other.as_bytes()), "{}", messages[second]);
            first += 1;
        }
        second += 1;
    }
}

/// `==` of slices isn't const.
const fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut i = 0;
    while i < one.len() {
        if one[i] != other[i] {
            return false;
        }
        i += 1;
    }
    true
}
