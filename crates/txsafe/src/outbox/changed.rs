//! What became of leases that a statement was to change.

use super::ask::Rows;
use std::collections::HashMap;

/// What became of a lease; one that is lost isn't in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    Done,
    /// It is done, and its message had been written again since it was claimed.
    WrittenAgain,
    /// Another transaction has locked the row: it is to be asked for again.
    Locked,
}

/// An answer, by lease.
pub(super) fn read(rows: Rows) -> HashMap<String, Changed> {
    let read = |row| {
        let Ok([lease, changed]) = <[String; 2]>::try_from(row) else {
            unreachable!("the statements return two");
        };
        let changed = match &*changed {
            "changed" => Changed::Done,
            "written again" => Changed::WrittenAgain,
            "locked" => Changed::Locked,
            other => unreachable!("the statements don't return {other:?}"),
        };
        (lease, changed)
    };
    rows.into_iter().map(read).collect()
}
