//! What a statement locks, as far as its text says so.
//! Source: PostgreSQL manual, section 13.3.2, "Row-Level Locks", and "SELECT", "The Locking Clause".

mod advisory;
mod listed;
mod reader;
mod table;
mod text;

use self::text::{MAX_TEXT_BYTES, statements};
pub(super) use self::{
    advisory::{AdvisoryCall, Does, LockName},
    listed::{ListedRows, Sorted},
};
use crate::{
    clock::excused::{Excuse, Excusing},
    dialect::postgres::{locks::may_lock, savepoints::SavepointChange},
};
use reader::Reader;
use std::thread;

/// Room for all of that: unoptimized, the parser needs up to 100 KB for a level. Most of it is never touched.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// What a text does to locks, in the order in which it comes to them; nothing for what can't be read.
///
/// A text that may lock is read on a thread of its own, since the caller's stack, often that of a future's task, may be
/// too short for it. So callers keep the answer, which depends on the text alone.
pub(super) fn effects(sql: &str) -> Vec<Effect> {
    if !may_lock(sql) || sql.len() > MAX_TEXT_BYTES {
        return Vec::new();
    }
    let _excusing = Excusing::start(Excuse::Own);
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("txsafe-sql".into()).stack_size(STACK_BYTES);
        let reader = builder.spawn_scoped(scope, || read(sql)).ok();
        // A panic of the parser, too, is something that can't be read.
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    })
}

/// What a text does to locks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    Rows(RowLock),
    Listed(ListedRows),
    Advisory(AdvisoryCall),
    Savepoint(SavepointChange),
}

/// Rows of one table that are locked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RowLock {
    /// As the catalog writes it: unquoted names in lower case, `public.` left out, other schemas kept: `shop.orders`.
    pub(super) table: String,
    /// What tells one row, where the statement says so by equality.
    pub(super) key: Option<KeySource>,
    /// Whether the statement waits for rows that somebody else holds: it doesn't by `SKIP LOCKED` and `NOWAIT`.
    pub(super) waits: bool,
}

/// Where the key of a row is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum KeySource {
    /// `$n`, counted from 0.
    Bind(usize),
    /// An integer without leading zeros, or the content of a string. A column has one type, so `7` and `'7'` are alike.
    Literal(String),
}

fn read(sql: &str) -> Vec<Effect> {
    let mut reader = Reader::default();
    statements(sql).iter().for_each(|statement| reader.statement(statement));
    reader.effects
}

#[cfg(test)]
mod tests;
