//! Plain SQL: what its texts lock, remembered.

use super::{
    class::ClassId,
    log::BindKey,
    sql::{AdvisoryCall, Effect, KeySource, ListedRows, RowLock, effects},
};
use crate::{
    dialect::postgres::{locks::may_lock, savepoints::SavepointChange},
    locks::{advisory::is_ours, key::LockKey},
};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

/// So many texts are remembered; beyond, new ones aren't read, because reading takes time.
const MOST_TEXTS: usize = 2_048;

/// What texts lock.
#[derive(Default)]
pub(crate) struct Statements(RwLock<HashMap<Arc<str>, Arc<Statement>>>);

/// A text that locks.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) sql: Arc<str>,
    pub(crate) reads: Vec<Read>,
}

/// What a text does to locks.
#[derive(Debug)]
pub(crate) enum Read {
    Rows { class: ClassId, key: Option<KeySource>, waits: bool },
    Listed { class: ClassId, rows: ListedRows },
    Advisory(AdvisoryCall),
    Savepoint(SavepointChange),
}

impl Statements {
    /// What this statement locks, if it does.
    pub(crate) fn read(&self, sql: &str) -> Option<Arc<Statement>> {
        if !may_lock(sql) {
            return None;
        }
        let texts = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = texts.get(sql) {
            return Some(Arc::clone(known));
        }
        if texts.len() >= MOST_TEXTS {
            return None;
        }
        drop(texts);
        let reads = effects(sql).into_iter().filter_map(|effect| match effect {
            // The graph knows our own tables by their ranks.
            Effect::Rows(lock) if is_own_table(&lock.table) => None,
            Effect::Rows(RowLock { table, key, waits }) => {
                Some(Read::Rows { class: ClassId::named(&table)?, key, waits })
            }
            Effect::Listed(rows) if is_own_table(&rows.table) => None,
            Effect::Listed(rows) => {
                Some(Read::Listed { class: ClassId::named(&rows.table)?, rows })
            }
            // So are our own locks, and that of an idempotency key is taken before any other.
            Effect::Advisory(_) if is_ours(sql) || sql.contains("txsafe_") => None,
            Effect::Advisory(call) => Some(Read::Advisory(call)),
            Effect::Savepoint(change) => Some(Read::Savepoint(change)),
        });
        let sql: Arc<str> = sql.into();
        let statement = Arc::new(Statement { sql: Arc::clone(&sql), reads: reads.collect() });
        let mut texts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        texts.insert(sql, Arc::clone(&statement));
        Some(statement)
    }
}

/// Whether it is one of txsafe's own tables, in whichever schema.
fn is_own_table(table: &str) -> bool {
    table.rsplit('.').next().is_some_and(|name| name.starts_with("txsafe_"))
}

impl KeySource {
    /// See [`LockKey::to_prefix`].
    pub(crate) fn prefix(&self, bind: impl Fn(usize) -> Option<BindKey>) -> Option<u64> {
        match self {
            Self::Bind(n) => match bind(*n)? {
                BindKey::Integer(number) => Some(number.to_prefix()),
                BindKey::Bytes(bytes) => Some(bytes.to_prefix()),
                BindKey::List(_) => None,
            },
            Self::Literal(text) => Some(match text.parse::<i64>() {
                Ok(number) => number.to_prefix(),
                Err(_) => text.to_prefix(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_remembered_to_a_bound_and_then_not_read() {
        let statements = Statements::default();
        let update = |n: usize| format!("UPDATE plain_test SET n = {n}");
        for n in 0..MOST_TEXTS + 10 {
            assert_eq!(statements.read(&update(n)).is_some(), n < MOST_TEXTS);
        }
        assert_eq!(statements.read(&update(0)).unwrap().reads.len(), 1, "known before");
        assert!(statements.read("SELECT 1").is_none());
    }

    #[test]
    fn tables_of_ours_are_no_classes() {
        for table in ["txsafe_sequences", "\"Ops 1\".txsafe_sequences"] {
            let sql = format!("UPDATE {table} SET last_value = 1");
            assert!(Statements::default().read(&sql).unwrap().reads.is_empty(), "{sql}");
        }
    }
}
