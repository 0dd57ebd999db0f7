//! Which statements lock rows, or take advisory locks.

/// Without one of these words, or an advisory lock, a text takes no lock that another transaction may hold.
const LOCKING_WORDS: [&str; 6] = ["update", "delete", "share", "merge", "lock", "conflict"];

/// So begin the functions that take advisory locks.
const ADVISORY: [&str; 2] = ["pg_advisory_", "pg_try_advisory_"];

/// Whether a text may lock at all. Asked of every statement, it is quick.
pub(crate) fn may_lock(sql: &str) -> bool {
    sql.as_bytes().split(|byte| !is_of_word(*byte)).any(|word| {
        let starts = |start: &str| {
            word.get(..start.len()).is_some_and(|part| part.eq_ignore_ascii_case(start.as_bytes()))
        };
        LOCKING_WORDS.iter().any(|locking| word.eq_ignore_ascii_case(locking.as_bytes()))
            || ADVISORY.iter().any(|start| starts(start))
    })
}

/// So that `updated_at` is one word.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::may_lock;

    #[test]
    fn words_that_lock_are_words() {
        assert!(may_lock("select 1 fOr uPdAte"));
        assert!(may_lock("(UPDATE\"a\""));
        assert!(
            may_lock("SELECT PG_advisory_xact_lock(1)")
                && may_lock("select pg_try_advisory_lock(1)")
        );
        assert!(!may_lock("SELECT updated_at, deleted, \"locks\", é_lock FROM shares"));
    }
}
