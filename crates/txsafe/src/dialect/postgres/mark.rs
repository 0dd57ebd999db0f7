//! Whether a transaction is still the one that was begun.
//!
//! The server's status doesn't tell: after `COMMIT; BEGIN` in the closure it says "in transaction" again. So BEGIN's
//! message sets a setting of our own twice, for the session to `N` and for the transaction to `N+`, where `N` occurs
//! once in the world. The server then answers with
//!
//! | what ran | inside | after ROLLBACK |
//! |---|---|---|
//! | our transaction, savepoints and `SET ROLE` included | `N+` | what it was before |
//! | `COMMIT; BEGIN`, `COMMIT AND CHAIN` | `N` | `N` |
//! | `ROLLBACK; BEGIN`, `ROLLBACK AND CHAIN`, `RESET ALL` | what it was before, or nothing | the same |
//!
//! Source: PostgreSQL manual, "SET": a session's value takes effect once its transaction commits, `SET LOCAL` ends with
//! the transaction. Run on PostgreSQL 14 to 18.

/// The setting. One with a dot in its name belongs to no extension and needs no declaration.
macro_rules! setting {
    () => {
        "txsafe.transaction"
    };
}

use crate::dialect::mark::{Identity, Mark};

/// The question. Its answer begins with the number, so that an answer to something else isn't taken for it.
pub(super) const QUESTION_SQL: &str =
    concat!("SELECT concat_ws('|', $1::text, current_setting('", setting!(), "', true)) AS answer");

/// What BEGIN's message adds.
pub(super) fn push_onto(sql: &mut String, mark: &Mark) {
    for part in [
        concat!("; SET ", setting!(), " = '"),
        mark.as_str(),
        concat!("'; SET LOCAL ", setting!(), " = '"),
        mark.as_str(),
        "+'",
    ] {
        sql.push_str(part);
    }
}

/// Reads the answer; `None` if it is no answer to this question.
pub(super) fn read(mark: &Mark, answer: &str) -> Option<Identity> {
    let number = mark.as_str();
    let setting = answer.strip_prefix(number)?.strip_prefix('|').unwrap_or_default();
    Some(match setting.strip_prefix(number) {
        Some("+") => Identity::Ours,
        Some("") => Identity::Committed,
        Some(_) | None => Identity::NotOpen,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_tells_whose_transaction_it_is() {
        let mark = Mark::new(0x0123_4567_89ab_cdef);
        let n = "0123456789abcdef";
        for (answer, identity) in [
            (format!("{n}|{n}+"), Some(Identity::Ours)),
            (format!("{n}|{n}"), Some(Identity::Committed)),
            (format!("{n}|fedcba9876543210"), Some(Identity::NotOpen)),
            (format!("{n}|"), Some(Identity::NotOpen)),
            (n.to_owned(), Some(Identity::NotOpen)),
            (format!("fedcba9876543210|{n}+"), None),
            ("1".to_owned(), None),
        ] {
            assert_eq!(read(&mark, &answer), identity, "{answer}");
        }
    }
}
