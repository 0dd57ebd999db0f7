//! Scoped sequences: numbers without gaps, counted for each scope by itself.

use super::{
    key,
    rank::{SequenceRank, Target},
    statement::LockCall,
};
use crate::dialect::postgres::literal::push_literal;
use std::fmt::Write;

/// The table that scoped sequences are kept in, to be put into the application's migrations.
///
/// It is one statement, which may run again and in many sessions at once, as [`IDEMPOTENCY_KEYS_SQL`](crate::IDEMPOTENCY_KEYS_SQL).
///
/// One row for each sequence and scope, with the last number that was given out.
pub const SEQUENCES_SQL: &str = include_str!("../../sql/sequences.sql");

/// The statement that takes the next number of a scope, and keeps others from taking one until the transaction ends.
///
/// The counter's row is made by whoever comes first; others wait for it, because `ON CONFLICT` locks what it finds.
/// Source: PostgreSQL manual, "INSERT", "ON CONFLICT Clause".
pub(crate) fn next<R: SequenceRank>(scope: &R::Key) -> LockCall {
    let Target::Sequence { name, start } = R::TARGET else {
        unreachable!("`rank!` gives sequences a name");
    };
    let mut sql =
        String::from("INSERT INTO txsafe_sequences AS counter (name, scope, last_value) VALUES (");
    push_literal(&mut sql, name);
    // Writing to a String can't fail.
    let _ = write!(
        sql,
        ", (CAST($1 AS text)::text[])[1], {start}) ON CONFLICT (name, scope) \
         DO UPDATE SET last_value = counter.last_value + 1 RETURNING last_value::text",
    );
    LockCall::new(sql, key::array(std::slice::from_ref(scope)))
}
