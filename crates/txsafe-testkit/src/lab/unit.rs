//! Units: what a client sends before it waits for ReadyForQuery.

use super::{fault::At, message::Message};
use std::collections::HashMap;

/// The unit that is being read, and what is needed to know what it runs.
#[derive(Default)]
pub(super) struct Units {
    pub(super) bytes: Vec<u8>,
    runs: Vec<String>,
    statements: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, String>,
    /// Statements since BEGIN, inside a transaction.
    since_begin: Option<u32>,
}

/// What follows from a message.
pub(super) enum Part {
    /// The unit goes on.
    Inside,
    /// Nothing to wait for: passwords, data of COPY, Flush.
    PassOn,
    /// The unit is complete, and this is where a fault may strike it.
    End(Option<At>),
}

impl Units {
    /// Takes the next message of the client.
    pub(super) fn push(&mut self, message: &Message) -> Part {
        self.bytes.extend(&message.bytes);
        let mut fields = message.body().split(|byte| *byte == 0);
        let mut field = || fields.next().unwrap_or_default();
        match message.kind {
            b'Q' => {
                self.runs.push(text(field()));
                Part::End(self.end())
            }
            b'P' => {
                let (name, sql) = (field().to_vec(), text(field()));
                self.statements.insert(name, sql);
                Part::Inside
            }
            b'B' => {
                let (portal, statement) = (field().to_vec(), field());
                let sql = self.statements.get(statement).cloned().unwrap_or_default();
                self.portals.insert(portal, sql);
                Part::Inside
            }
            b'E' => {
                self.runs.push(self.portals.get(field()).cloned().unwrap_or_default());
                Part::Inside
            }
            b'C' => {
                if let Some((b'S', name)) = field().split_first() {
                    self.statements.remove(name);
                }
                Part::Inside
            }
            b'S' | b'F' => Part::End(self.end()),
            b'p' | b'd' | b'c' | b'f' | b'H' | b'X' => Part::PassOn,
            _ => Part::Inside,
        }
    }

    fn end(&mut self) -> Option<At> {
        let commands = commands(&std::mem::take(&mut self.runs).join(";"));
        let any = |words: &[&str]| {
            let mut first_words = commands.iter().filter_map(|command| command.split(' ').next());
            first_words.any(|word| words.contains(&word))
        };
        if any(&["COMMIT", "END"]) {
            self.since_begin = None;
            return Some(At::Commit);
        }
        if any(&["BEGIN", "START"]) {
            self.since_begin = Some(0);
            return Some(At::Begin);
        }
        if commands.iter().all(String::is_empty) {
            return None;
        }
        if any(&["ROLLBACK", "ABORT"]) {
            // ROLLBACK TO SAVEPOINT goes on with the transaction.
            if !commands.iter().any(|command| command == "ROLLBACK TO") {
                self.since_begin = None;
            }
            return None;
        }
        let since_begin = self.since_begin.as_mut()?;
        *since_begin += 1;
        Some(At::Nth(*since_begin))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first two words of each command, in upper case.
fn commands(sql: &str) -> Vec<String> {
    let mut unquoted = String::new();
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let quoted = match c {
            '\'' | '"' => rest[1..].find(c).map(|end| end + 2),
            '$' => dollar_quoted(rest),
            _ => None,
        };
        // A semicolon in a string or a function's body ends no command.
        rest = match quoted {
            Some(end) => &rest[end..],
            None => {
                unquoted.push(c);
                &rest[c.len_utf8()..]
            }
        };
    }
    let first_words = |command: &str| -> String {
        let words: Vec<_> = command.split_whitespace().take(2).collect();
        words.join(" ").to_ascii_uppercase()
    };
    unquoted.split(';').map(first_words).collect()
}

/// The length of the `$tag$ … $tag$` that `sql` starts with. `$1` starts none.
fn dollar_quoted(sql: &str) -> Option<usize> {
    let tag = &sql[..sql[1..].find('$')? + 2];
    let is_tag = tag[1..tag.len() - 1].chars().all(|c| c.is_alphanumeric() || c == '_')
        && !tag[1..].starts_with(|c: char| c.is_ascii_digit());
    let end = sql[tag.len()..].find(tag).filter(|_| is_tag)?;
    Some(end + 2 * tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &str) -> Message {
        let length = (body.len() as u32 + 4).to_be_bytes();
        Message { kind, bytes: [&[kind], &length[..], body.as_bytes()].concat() }
    }

    fn places(messages: &[(u8, &str)]) -> Vec<Option<At>> {
        let mut units = Units::default();
        let parts = messages.iter().map(|(kind, body)| units.push(&message(*kind, body)));
        parts.filter_map(|part| if let Part::End(at) = part { Some(at) } else { None }).collect()
    }

    #[test]
    fn simple_and_prepared_statements_are_counted_alike() {
        let seen = places(&[
            (b'Q', "begin; SET LOCAL lock_timeout = 5\0"),
            (b'P', "s1\0UPDATE a SET b = 1\0\0\0"),
            (b'S', ""),
            (b'B', "\0s1\0\0\0\0\0\0\0"),
            (b'E', "\0\0\0\0\0"),
            (b'S', ""),
            (b'Q', "DO $x$ BEGIN PERFORM ';COMMIT'; END $x$\0"),
            (b'C', "Ss1\0"),
            (b'S', ""),
            (b'Q', "SELECT 1; COMMIT\0"),
            (b'Q', "SELECT 1\0"),
            (b'Q', "START TRANSACTION\0"),
            (b'Q', "ROLLBACK TO SAVEPOINT s\0"),
            (b'Q', "SELECT 1\0"),
            (b'Q', "ROLLBACK\0"),
            (b'Q', "SELECT 1\0"),
        ]);
        let nth = |n| Some(At::Nth(n));
        assert_eq!(
            seen,
            [
                Some(At::Begin),
                None,
                nth(1),
                nth(2),
                None,
                Some(At::Commit),
                None,
                Some(At::Begin),
                None,
                nth(1),
                None,
                None
            ],
        );
    }
}
