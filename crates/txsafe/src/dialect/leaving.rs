//! Whether a statement leaves the transaction that it runs in.

use super::words::{Token, Words};

/// Whether `sql` has a statement that ends the transaction it runs in: `COMMIT`, `END`, `ABORT`, `ROLLBACK` (not `TO` a
/// savepoint) or `PREPARE TRANSACTION`, with `AND CHAIN` or without.
///
/// It splits the text into statements as PostgreSQL does, so that quoted text and comments don't count. `BEGIN` inside
/// a transaction isn't among them: the server warns and does nothing.
/// Source: PostgreSQL manual, section 4.1, "Lexical Structure".
#[must_use]
pub fn leaves_transaction(sql: &str) -> bool {
    leaves(sql, false)
}

/// The same, where triggers may have bodies of statements, as on SQLite.
pub(super) fn leaves(sql: &str, has_bodies_of_triggers: bool) -> bool {
    let mut words = Words::new(sql);
    let mut is_in_body = false;
    while let Some(word) = words.next_first() {
        let leaves = match word {
            // The body of a function in standard SQL: its statements run when it is called.
            b"create" => {
                is_in_body |= words.reaches_body(has_bodies_of_triggers);
                // The statement has been read to its end: others may follow.
                continue;
            }
            b"end" if is_in_body => {
                is_in_body = false;
                false
            }
            b"commit" => words.next_in_statement() != Some(b"prepared"),
            b"end" | b"abort" => true,
            b"rollback" => !matches!(words.next_but_work(), Some(b"to" | b"prepared")),
            b"prepare" => words.next_in_statement() == Some(b"transaction"),
            _ => false,
        };
        if leaves {
            return true;
        }
        // A single statement, as nearly all are.
        if !words.rest().contains(&b';') {
            return false;
        }
    }
    false
}

/// As long as the longest word that is looked for, and one more.
const LONGEST: usize = 12;

impl Words<'_> {
    /// The first word of the next statement that begins with one.
    fn next_first(&mut self) -> Option<&'static [u8]> {
        loop {
            let was_at_start = self.is_at_start();
            match self.token()? {
                Token::Word(word) if was_at_start => return Some(known(word)),
                _ => {}
            }
        }
    }

    /// The next word of this statement, if that is what comes next.
    fn next_in_statement(&mut self) -> Option<&'static [u8]> {
        match self.token()? {
            Token::Word(word) => Some(known(word)),
            _ => None,
        }
    }

    fn next_but_work(&mut self) -> Option<&'static [u8]> {
        match self.next_in_statement() {
            Some(b"work" | b"transaction") => self.next_in_statement(),
            word => word,
        }
    }

    /// Whether this statement goes on to `BEGIN ATOMIC`, or that of a trigger to `BEGIN`; reads it to there, or to its end.
    fn reaches_body(&mut self, of_triggers: bool) -> bool {
        let (mut was_begin, mut is_trigger) = (false, false);
        while let Some(token) = self.token() {
            match token {
                Token::Word(word) => {
                    let word = known(word);
                    is_trigger |= of_triggers && word == b"trigger";
                    if (was_begin && word == b"atomic") || (is_trigger && word == b"begin") {
                        self.start_statement();
                        return true;
                    }
                    was_begin = word == b"begin";
                }
                Token::End => return false,
                _ => was_begin = false,
            }
        }
        false
    }
}

/// The word in lower case, where it is one that is looked for; else an empty one.
fn known(word: &[u8]) -> &'static [u8] {
    const KNOWN: [&[u8]; 14] = [
        b"abort",
        b"atomic",
        b"begin",
        b"commit",
        b"create",
        b"end",
        b"prepare",
        b"prepared",
        b"rollback",
        b"to",
        b"transaction",
        b"trigger",
        b"work",
        b"",
    ];
    if word.len() >= LONGEST {
        return b"";
    }
    KNOWN.into_iter().find(|known| word.eq_ignore_ascii_case(known)).unwrap_or(b"")
}

#[cfg(test)]
mod tests {
    use super::super::words::odd_texts;
    use super::*;

    #[test]
    fn what_ends_the_transaction_is_found_wherever_it_stands() {
        for sql in [
            "COMMIT",
            "  commit;",
            "-- x\n rollback",
            "/* a /* b */ c */ COMMIT AND CHAIN",
            "ROLLBACK AND CHAIN",
            "ROLLBACK WORK",
            "END",
            "abort transaction",
            "UPDATE t SET n = 1; COMMIT; BEGIN",
            "SELECT 'it''s; '; ROLLBACK; BEGIN",
            r"SELECT E'\''; COMMIT",
            "PREPARE TRANSACTION 'x'",
            "SELECT $1; END",
            "CREATE TABLE t (n int); COMMIT",
            "CREATE INDEX ON t (n); END; BEGIN",
            "; ;commit",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; COMMIT",
        ] {
            assert!(leaves_transaction(sql), "{sql}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        for sql in [
            "",
            "SELECT 1; SELECT 2",
            "SELECT 'x; COMMIT; '",
            "SELECT \"; COMMIT; \" FROM t; SELECT 1",
            "DO $$ BEGIN PERFORM 1; END $$; SELECT 1",
            "DO $do$ BEGIN PERFORM 1; COMMIT; END $do$; SELECT 1",
            "-- COMMIT; x\nSELECT 1; /* ; COMMIT */ SELECT 2",
            "ROLLBACK TO a",
            "ROLLBACK TRANSACTION TO SAVEPOINT a; SELECT 1",
            "ROLLBACK /* one */ TO SAVEPOINT a",
            "SELECT CASE WHEN true THEN 1 END; SELECT 1",
            "SELECT * FROM commit; SELECT 1",
            "PREPARE p AS SELECT 1",
            "COMMIT PREPARED 'x'",
            "BEGIN; SELECT 1",
            "COMMITTED; SELECT 1",
            "INSERT INTO ended VALUES (1); SELECT 1",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END; SELECT 1",
        ] {
            assert!(!leaves_transaction(sql), "{sql}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        // It returns, whatever it says.
        odd_texts(&["COMMIT", "ROLLBACK TO"], |sql| {
            let _ = leaves_transaction(sql);
        });
    }
}
