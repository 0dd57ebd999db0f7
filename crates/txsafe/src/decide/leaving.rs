//! Whether a statement leaves the transaction that it runs in.

/// Whether `sql` has a statement that ends the transaction it runs in: `COMMIT`, `END`, `ABORT`, `ROLLBACK` (not `TO` a
/// savepoint) or `PREPARE TRANSACTION`, with `AND CHAIN` or without.
///
/// It splits the text into statements as the server does, so that quoted text and comments don't count. `BEGIN` inside
/// a transaction isn't among them: the server warns and does nothing.
/// Source: PostgreSQL manual, section 4.1, "Lexical Structure".
#[must_use]
pub fn leaves_transaction(sql: &str) -> bool {
    let mut words = Words { rest: sql.as_bytes(), at_start: true };
    let mut is_in_body = false;
    while let Some(word) = words.next_first() {
        let leaves = match word {
            // The body of a function in standard SQL: its statements run when it is called.
            b"create" => {
                is_in_body |= words.reaches_body();
                false
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
        if !words.rest.contains(&b';') {
            return false;
        }
    }
    false
}

/// The words of a text, in lower case, without what is quoted or commented out.
struct Words<'s> {
    rest: &'s [u8],
    /// At the start of a statement.
    at_start: bool,
}

/// As long as the longest word that is looked for, and one more.
const LONGEST: usize = 12;

impl<'s> Words<'s> {
    /// The first word of the next statement that begins with one.
    fn next_first(&mut self) -> Option<&'static [u8]> {
        loop {
            let was_at_start = self.at_start;
            match self.token()? {
                Token::Word(word) if was_at_start => return Some(known(word)),
                Token::Word(_) | Token::Other | Token::End => {}
            }
        }
    }

    /// The next word of this statement, if that is what comes next.
    fn next_in_statement(&mut self) -> Option<&'static [u8]> {
        match self.token()? {
            Token::Word(word) => Some(known(word)),
            Token::Other | Token::End => None,
        }
    }

    fn next_but_work(&mut self) -> Option<&'static [u8]> {
        match self.next_in_statement() {
            Some(b"work" | b"transaction") => self.next_in_statement(),
            word => word,
        }
    }

    /// Whether this statement goes on to `BEGIN ATOMIC`; reads it to there, or to its end.
    fn reaches_body(&mut self) -> bool {
        let mut was_begin = false;
        while let Some(token) = self.token() {
            match token {
                Token::Word(word) => {
                    let word = known(word);
                    if was_begin && word == b"atomic" {
                        self.at_start = true;
                        return true;
                    }
                    was_begin = word == b"begin";
                }
                Token::Other => was_begin = false,
                Token::End => return false,
            }
        }
        false
    }

    fn token(&mut self) -> Option<Token<'s>> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            match first {
                _ if first.is_ascii_whitespace() => self.rest = rest,
                b'-' if rest.first() == Some(&b'-') => {
                    let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    self.rest = end.map_or(&[], |end| &rest[end..]);
                }
                b'/' if rest.first() == Some(&b'*') => self.skip_comment(),
                b';' => {
                    (self.rest, self.at_start) = (rest, true);
                    return Some(Token::End);
                }
                _ => break,
            }
        }
        self.at_start = false;
        let first = self.rest[0];
        if is_word_start(first) {
            let end = self.rest.iter().position(|&byte| !is_word_part(byte));
            let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            self.rest = rest;
            // `E'…'`, where a backslash escapes.
            if word.eq_ignore_ascii_case(b"e") && rest.first() == Some(&b'\'') {
                self.skip_quoted(b'\'', true);
                return Some(Token::Other);
            }
            return Some(Token::Word(word));
        }
        match first {
            b'\'' | b'"' => self.skip_quoted(first, false),
            b'$' => self.skip_dollar_quoted(),
            _ => self.rest = &self.rest[1..],
        }
        Some(Token::Other)
    }

    /// From the opening quote to what follows the closing one; a doubled one is read as two texts.
    fn skip_quoted(&mut self, quote: u8, escapes: bool) {
        let mut i = 1;
        while let Some(&byte) = self.rest.get(i) {
            if byte == quote {
                self.rest = &self.rest[i + 1..];
                return;
            }
            i += if escapes && byte == b'\\' { 2 } else { 1 };
        }
        self.rest = &[];
    }

    fn skip_dollar_quoted(&mut self) {
        let tag = self.rest[1..].iter().position(|byte| *byte == b'$').map(|end| end + 2);
        let tag = tag.map(|end| &self.rest[..end]).filter(|tag| {
            let name = &tag[1..tag.len() - 1];
            // A number is a parameter.
            name.iter().all(|&byte| is_word_part(byte))
                && !name.first().is_some_and(u8::is_ascii_digit)
        });
        let Some(tag) = tag else {
            self.rest = &self.rest[1..];
            return;
        };
        let body = &self.rest[tag.len()..];
        let end = body.windows(tag.len()).position(|part| part == tag);
        self.rest = end.map_or(&[], |end| &body[end + tag.len()..]);
    }

    /// Comments nest.
    fn skip_comment(&mut self) {
        let (mut depth, mut i) = (0_usize, 0);
        while i < self.rest.len() {
            match &self.rest[i..] {
                [b'/', b'*', ..] => (depth, i) = (depth + 1, i + 2),
                [b'*', b'/', ..] => (depth, i) = (depth - 1, i + 2),
                _ => i += 1,
            }
            if depth == 0 {
                break;
            }
        }
        self.rest = &self.rest[i.min(self.rest.len())..];
    }
}

enum Token<'s> {
    Word(&'s [u8]),
    /// Anything else that belongs to a statement.
    Other,
    /// The end of a statement.
    End,
}

/// The word in lower case, where it is one that is looked for; else an empty one.
fn known(word: &[u8]) -> &'static [u8] {
    const KNOWN: [&[u8]; 13] = [
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
        b"work",
        b"",
    ];
    if word.len() >= LONGEST {
        return b"";
    }
    KNOWN.into_iter().find(|known| word.eq_ignore_ascii_case(known)).unwrap_or(b"")
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

fn is_word_part(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
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
        let seed = fastrand::u64(..);
        let mut dice = fastrand::Rng::with_seed(seed);
        let parts = [
            "'",
            "\"",
            "$",
            "$$",
            "$a$",
            "--",
            "\n",
            "/*",
            "*/",
            ";",
            "E'",
            "\\",
            "é",
            "COMMIT",
            " ",
            "ROLLBACK TO",
        ];
        for _ in 0..20_000 {
            let length = dice.usize(..12);
            let sql: String = (0..length).map(|_| parts[dice.usize(..parts.len())]).collect();
            // It returns, whatever it says.
            let _ = leaves_transaction(&sql);
        }
    }
}
