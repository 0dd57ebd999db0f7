//! The tokens of one statement, read from its start.

use crate::dialect::words::Token;

/// What is left of a statement's tokens.
#[derive(Clone)]
pub(super) struct Reader<'t, 's>(pub(super) &'t [Token<'s>]);

impl<'t, 's> Reader<'t, 's> {
    /// The next token, if it is a word.
    pub(super) fn word(&mut self) -> Option<&'s str> {
        let (Token::Word(word), rest) = self.0.split_first()? else { return None };
        self.0 = rest;
        std::str::from_utf8(word).ok()
    }

    pub(super) fn eat(&mut self, word: &str) -> bool {
        let is_next = matches!(self.0.first(), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word.as_bytes()));
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    pub(super) fn eat_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.eat(word))
    }

    pub(super) fn eat_all(&mut self, words: &[&str]) -> bool {
        let mut rest = self.clone();
        let are_next = words.iter().all(|word| rest.eat(word));
        if are_next {
            *self = rest;
        }
        are_next
    }

    pub(super) fn eat_sign(&mut self, sign: u8) -> bool {
        let is_next = self.0.first() == Some(&Token::Sign(sign));
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    /// What follows these words, wherever they stand.
    pub(super) fn find(&self, words: &[&str]) -> Option<Self> {
        (0..self.0.len()).map(|i| Self(&self.0[i..])).find_map(|mut rest| {
            let is_there = rest.eat_all(words);
            is_there.then_some(rest)
        })
    }

    /// A name, folded as the server folds it, with what it is qualified by.
    pub(super) fn name(&mut self) -> Option<String> {
        let mut name = self.name_part()?;
        while self.eat_sign(b'.') {
            name.push('.');
            name.push_str(&self.name_part()?);
        }
        Some(name)
    }

    fn name_part(&mut self) -> Option<String> {
        let name = match self.0.first()? {
            Token::Word(name) => String::from_utf8_lossy(name).to_ascii_lowercase(),
            Token::Quoted(name) => String::from_utf8_lossy(name).into_owned(),
            Token::Text(_) | Token::Sign(_) | Token::End => return None,
        };
        self.0 = &self.0[1..];
        Some(name)
    }

    /// `None` is for `ALL`.
    pub(super) fn name_or_all(&mut self) -> Option<String> {
        if self.eat("all") { None } else { self.name() }
    }
}
