//! SQL as words and signs, read as PostgreSQL reads it: comments and quoted text are no words.
//!
//! Source: PostgreSQL manual, section 4.1, "Lexical Structure".

/// The tokens of a text that may have several statements.
pub(super) struct Words<'s> {
    text: &'s [u8],
    rest: &'s [u8],
    /// At the start of a statement.
    at_start: bool,
}

/// A piece of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'s> {
    /// A keyword or a name, in the case it is written in.
    Word(&'s [u8]),
    /// A name in double quotes, without them.
    Quoted(&'s [u8]),
    /// A string, without its quotes.
    Text(&'s [u8]),
    /// Any other byte.
    Sign(u8),
    /// The end of a statement.
    End,
}

impl<'s> Words<'s> {
    pub(super) fn new(sql: &'s str) -> Self {
        Self { text: sql.as_bytes(), rest: sql.as_bytes(), at_start: true }
    }

    /// What hasn't been read yet.
    pub(super) fn rest(&self) -> &'s [u8] {
        self.rest
    }

    /// How much has been read, in bytes.
    pub(super) fn position(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// Whether the next token is the first one of a statement.
    pub(super) fn is_at_start(&self) -> bool {
        self.at_start
    }

    /// The next token starts a statement, although no semicolon stands before it.
    pub(super) fn start_statement(&mut self) {
        self.at_start = true;
    }

    /// The next token, or `None` at the end of the text.
    pub(super) fn token(&mut self) -> Option<Token<'s>> {
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
                return Some(Token::Text(self.quoted(b'\'', true)));
            }
            return Some(Token::Word(word));
        }
        match first {
            b'\'' => return Some(Token::Text(self.quoted(first, false))),
            b'"' => return Some(Token::Quoted(self.quoted(first, false))),
            b'$' => {
                if let Some(body) = self.dollar_quoted() {
                    return Some(Token::Text(body));
                }
            }
            _ => {}
        }
        self.rest = &self.rest[1..];
        Some(Token::Sign(first))
    }

    /// From the opening quote to what follows the closing one; a doubled one is read as two texts.
    fn quoted(&mut self, quote: u8, escapes: bool) -> &'s [u8] {
        let all = self.rest;
        let mut i = 1;
        while let Some(&byte) = all.get(i) {
            if byte == quote {
                self.rest = &all[i + 1..];
                return &all[1..i];
            }
            i += if escapes && byte == b'\\' { 2 } else { 1 };
        }
        self.rest = &[];
        &all[1..]
    }

    /// What stands between two equal tags, read to behind the second one; `None`, and nothing read, at a parameter.
    fn dollar_quoted(&mut self) -> Option<&'s [u8]> {
        let end = self.rest[1..].iter().position(|byte| *byte == b'$')? + 2;
        let (tag, body) = self.rest.split_at(end);
        let name = &tag[1..tag.len() - 1];
        // A number is a parameter.
        let is_tag = name.iter().all(|&byte| is_word_part(byte))
            && !name.first().is_some_and(u8::is_ascii_digit);
        if !is_tag {
            return None;
        }
        let end = body.windows(tag.len()).position(|part| part == tag);
        self.rest = end.map_or(&[], |end| &body[end + tag.len()..]);
        Some(&body[..end.unwrap_or(body.len())])
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

/// `text`, cut to at most so many bytes on a character boundary.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// `sql`, cut to at most so many bytes; an ellipsis then stands for the rest.
pub(crate) fn shortened(mut sql: String, bytes: usize) -> String {
    let kept = cut(&sql, bytes).len();
    if kept < sql.len() {
        sql.truncate(kept);
        sql.push('…');
    }
    sql
}

fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

pub(super) fn is_word_part(byte: u8) -> bool {
    is_word_start(byte) || byte.is_ascii_digit()
}

/// For tests: texts of these parts and of what quotes and comments are made of, in any order.
#[cfg(test)]
pub(super) fn odd_texts(words: &[&str], mut each: impl FnMut(&str)) {
    const SIGNS: [&str; 14] =
        ["'", "\"", "$", "$$", "$a$", "--", "\n", "/*", "*/", ";", "E'", "\\", "é", " "];
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let parts: Vec<&str> = SIGNS.iter().chain(words).copied().collect();
    for _ in 0..20_000 {
        let length = dice.usize(..14);
        let sql: String = (0..length).map(|_| parts[dice.usize(..parts.len())]).collect();
        each(&sql);
    }
}
