//! From a text to statements, within limits: what is long, deep or unknown isn't read.

use sqlparser::{
    ast::Statement,
    dialect::PostgreSqlDialect,
    keywords::Keyword,
    parser::Parser,
    tokenizer::{Token, Tokenizer},
};
use tracing::{Dispatch, dispatcher};

/// Longer texts aren't read: reading takes time.
pub(super) const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Statements with more operators and keywords aren't read. Each may nest the tree one deeper without a parenthesis that
/// the parser counts, and trees are dropped by recursion.
const MAX_OPERATORS: usize = 1_000;

/// Nor are those with more joins that wait for their `ON`: the parser enters each, and doesn't count them.
const MAX_OPEN_JOINS: usize = 20;

/// How deep the parser nests what it does count.
const MAX_DEPTH: usize = 50;

/// The statements of a text, one by one, so that one which can't be read hides no others.
pub(super) fn statements(sql: &str) -> Vec<Statement> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize().unwrap_or_default();
    tokens.split(|token| *token == Token::SemiColon).filter_map(parsed).collect()
}

fn parsed(tokens: &[Token]) -> Option<Statement> {
    let tokens = readable(tokens);
    let operators = tokens.iter().filter(|token| may_nest(token)).count();
    if operators > MAX_OPERATORS || open_joins(&tokens) > MAX_OPEN_JOINS {
        return None;
    }
    let dialect = PostgreSqlDialect {};
    let parser = Parser::new(&dialect).with_recursion_limit(MAX_DEPTH);
    // The parser logs each step by `log`. Under a bridge to `tracing` this drops those records.
    dispatcher::with_default(&Dispatch::none(), || {
        parser.with_tokens(tokens).parse_statements().ok()?.pop()
    })
}

/// All but what the long lists of a bulk insert are made of.
fn may_nest(token: &Token) -> bool {
    match token {
        Token::Word(_) => !matches!(
            keyword(token),
            Keyword::NoKeyword | Keyword::DEFAULT | Keyword::FALSE | Keyword::NULL | Keyword::TRUE
        ),
        Token::Comma | Token::LParen | Token::Number(..) | Token::Period => false,
        Token::Placeholder(_) | Token::RParen | Token::SingleQuotedString(_) => false,
        _ => true,
    }
}

/// How many joins wait for their conditions at once, at most.
fn open_joins(tokens: &[Token]) -> usize {
    let mut open: usize = 0;
    let counts = tokens.iter().map(|token| {
        match keyword(token) {
            Keyword::JOIN => open += 1,
            Keyword::CROSS | Keyword::NATURAL | Keyword::ON | Keyword::USING => {
                open = open.saturating_sub(1);
            }
            _ => {}
        }
        open
    });
    counts.max().unwrap_or_default()
}

fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// Writes the locking clauses that the parser doesn't know as others that wait for the same rows.
fn readable(tokens: &[Token]) -> Vec<Token> {
    let is_space = |token: &&Token| matches!(token, Token::Whitespace(_));
    let mut tokens: Vec<_> = tokens.iter().filter(|token| !is_space(token)).cloned().collect();
    let mut i = 0;
    while i < tokens.len() {
        if are(&tokens[i..], &[Keyword::FOR, Keyword::NO, Keyword::KEY, Keyword::UPDATE]) {
            tokens.drain(i + 1..i + 3);
        } else if are(&tokens[i..], &[Keyword::FOR, Keyword::KEY, Keyword::SHARE]) {
            tokens.remove(i + 1);
        }
        if are(&tokens[i..], &[Keyword::FOR, Keyword::UPDATE, Keyword::OF])
            || are(&tokens[i..], &[Keyword::FOR, Keyword::SHARE, Keyword::OF])
        {
            dot_names(&mut tokens[i + 3..]);
        }
        i += 1;
    }
    tokens
}

fn are(tokens: &[Token], keywords: &[Keyword]) -> bool {
    tokens.len() >= keywords.len()
        && tokens.iter().map(keyword).zip(keywords).all(|(one, other)| one == *other)
}

/// `OF a, b` becomes `OF a.b`: the parser takes one name there. PostgreSQL allows none with a schema.
fn dot_names(tokens: &mut [Token]) {
    let separators = tokens.iter_mut().skip(1).step_by(2);
    for comma in separators.take_while(|token| **token == Token::Comma) {
        *comma = Token::Period;
    }
}
