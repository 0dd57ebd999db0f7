//! What is locked: ranks, and the row types that belong to them.

use super::{graph::class::Class, key::LockKey};

/// A class of locks: the rows of one table, the advisory locks of one namespace, the counters of one sequence. Declared
/// by [`rank!`](crate::rank), once, next to the schema.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no rank",
    label = "nothing can be locked at `{Self}`",
    note = "a transaction is at `Unlocked` until it goes to a rank: `let mut tx = tx.at::<…>();`"
)]
pub trait Rank: Sized + Send + Sync + 'static {
    /// The type of the key that tells its locks apart.
    type Key: LockKey;
    /// How messages call it.
    const NAME: &'static str;
    /// What is locked.
    const TARGET: Target;

    /// What the [lock graph](super::graph) knows it by.
    #[doc(hidden)]
    fn class() -> &'static Class;
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
    /// Advisory locks.
    Advisory {
        /// What tells them from those of other ranks.
        namespace: i32,
    },
    /// The counters of a scoped sequence.
    Sequence {
        /// Its name.
        name: &'static str,
        /// The first number of each scope.
        start: i64,
    },
}

/// A rank whose locks are rows of a table.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no rows",
    label = "is declared as something else than a table",
    note = "rows are of ranks that are declared as `rank!({Self}: table \"…\" key \"…\" as …)`",
    note = "a transaction is at `Unlocked` until it goes to a rank: `let mut tx = tx.at::<…>();`"
)]
pub trait TableRank: Rank {}

/// A rank of advisory locks.
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't a rank of advisory locks",
    label = "is declared as something else",
    note = "one is declared as `rank!({Self}: advisory 42 as i64)`, with a namespace of its own",
    note = "a transaction is at `Unlocked` until it goes to a rank: `let mut tx = tx.at::<…>();`"
)]
pub trait AdvisoryRank: Rank {}

/// A rank whose locks are the counters of a scoped sequence.
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't a scoped sequence",
    label = "is declared as something else",
    note = "one is declared as `rank!({Self}: sequence \"…\" as i64)`, with the type of its scopes",
    note = "a transaction is at `Unlocked` until it goes to a rank: `let mut tx = tx.at::<…>();`"
)]
pub trait SequenceRank: Rank {}

/// A row type, or a table type, that belongs to a rank. Declared by [`ranked!`](crate::ranked): a Diesel table, a Diesel
/// row and an SQLx row of one table all belong to one rank.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no lock rank",
    label = "has no rank",
    note = "add `ranked!({Self} => SomeRank)`, and give `SomeRank` a place in `lock_order!`"
)]
pub trait Ranked {
    /// Its rank.
    type Rank: TableRank;
}

/// For `lock_order!`: refuses, when the program is compiled, two ranks of one order that lock the same things.
#[doc(hidden)]
pub const fn assert_distinct(targets: &[Target], messages: &[&str]) {
    let mut second = 1;
    while second < targets.len() {
        let mut first = 0;
        while first < second {
            assert!(!is_same(targets[first], targets[second]), "{}", messages[second]);
            first += 1;
        }
        second += 1;
    }
}

/// `==` isn't const.
const fn is_same(one: Target, other: Target) -> bool {
    match (one, other) {
        (Target::Table { name: one, .. }, Target::Table { name: other, .. })
        | (Target::Sequence { name: one, .. }, Target::Sequence { name: other, .. }) => {
            equal(one.as_bytes(), other.as_bytes())
        }
        (Target::Advisory { namespace: one }, Target::Advisory { namespace: other }) => {
            one == other
        }
        (Target::Table { .. } | Target::Advisory { .. } | Target::Sequence { .. }, _) => false,
    }
}

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
