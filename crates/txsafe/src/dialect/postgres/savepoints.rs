//! What statements do to savepoints, and which of them make a subtransaction known to other sessions.

use super::changes::{self, Change};
use crate::dialect::words::{Token, Words};

/// So many ids of subtransactions fit into what a session shows to others (`PGPROC_MAX_CACHED_SUBXIDS`). With one more, every
/// session that looks at a row of any transaction may have to read `pg_subtrans`.
/// Source: PostgreSQL manual, section 74.3 of version 16 (66.3 of 17), "Subtransactions", and `src/include/storage/proc.h`.
pub(crate) const MOST_CACHED_SUBTRANSACTIONS: usize = 64;

/// What a statement does to a savepoint of this name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum SavepointChange {
    /// `SAVEPOINT`. The name may be in use: the new one hides the one before, until it is released.
    Set(String),
    /// `RELEASE`, of those set since, too.
    Release(String),
    /// `ROLLBACK TO`. The savepoint itself stays.
    RollBackTo(String),
}

/// What the statements of a text do to savepoints, in their order.
pub(crate) fn of(sql: &str) -> Vec<SavepointChange> {
    if !may_change(sql) {
        return Vec::new();
    }
    let change = |(_, change)| match change {
        Change::Savepoint(change) => Some(change),
        _ => None,
    };
    changes::of(sql).filter_map(change).collect()
}

/// Whether a text is worth reading. Asked of every statement, it is quick.
pub(crate) fn may_change(sql: &str) -> bool {
    const WORDS: [&[u8]; 3] = [b"savepoint", b"release", b"rollback"];
    let sql = sql.trim_ascii_start().as_bytes();
    let has = |at: usize| {
        WORDS.iter().any(|word| {
            sql.get(at..at + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word))
        })
    };
    let starts_with_comment = sql.starts_with(b"--") || sql.starts_with(b"/*");
    has(0) || ((starts_with_comment || sql.contains(&b';')) && (0..sql.len()).any(has))
}

/// Whether a text writes or locks rows, and so gives the subtransactions around it their ids. What functions do isn't seen.
/// Source: PostgreSQL manual, section 74.1 of version 16 (66.1 of 17), "Transactions and Identifiers".
pub(crate) fn may_write(sql: &str) -> bool {
    const WORDS: [&str; 10] = [
        "insert", "update", "delete", "merge", "share", "truncate", "create", "alter", "drop",
        "copy",
    ];
    let mut words = Words::new(sql);
    std::iter::from_fn(|| words.token()).any(|token| match token {
        Token::Word(word) => WORDS.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes())),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::{SavepointChange::*, *};

    #[test]
    fn savepoints_are_seen_wherever_they_stand() {
        for (sql, expected) in [
            ("SAVEPOINT a", vec![Set("a".into())]),
            (" release SAVEPOINT \"A\"", vec![Release("A".into())]),
            ("RELEASE A", vec![Release("a".into())]),
            ("ROLLBACK TO a", vec![RollBackTo("a".into())]),
            ("rollback WORK to SAVEPOINT a", vec![RollBackTo("a".into())]),
            ("ROLLBACK", vec![]),
            ("/* x */ SAVEPOINT a", vec![Set("a".into())]),
            ("SELECT ';savepoint b'", vec![]),
            (
                "SAVEPOINT a; UPDATE t SET n = 1; ROLLBACK TO a; RELEASE a",
                vec![Set("a".into()), RollBackTo("a".into()), Release("a".into())],
            ),
        ] {
            assert_eq!(of(sql), expected, "{sql}");
        }
        assert!(!may_change("SELECT savepoint FROM releases"));
    }

    #[test]
    fn what_writes_is_told_from_what_reads() {
        for sql in [
            "INSERT INTO t VALUES (1)",
            "SELECT 1 FROM t FOR KEY SHARE",
            "WITH c AS (DELETE FROM t) SELECT 1",
        ] {
            assert!(may_write(sql), "{sql}");
        }
        for sql in
            ["SELECT 'insert', updated FROM \"delete\" -- update", "SAVEPOINT a", "LOCK TABLE t"]
        {
            assert!(!may_write(sql), "{sql}");
        }
    }
}
