//! Units: what a client sends before it waits for ReadyForQuery.

use super::{fault::At, message::Message};
use std::collections::HashMap;

/// Names of statements and portals beyond this are all forgotten, and learned anew.
const MOST_NAMES: usize = 4_096;

/// The unit that is being read, and what is needed to know what it runs.
#[derive(Default)]
pub(super) struct Units {
    bytes: Vec<u8>,
    runs: Vec<String>,
    statements: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, String>,
    /// Statements since BEGIN, inside a transaction.
    since_begin: Option<u32>,
    /// Whether the transaction has read or written by now.
    has_read: bool,
}

/// What follows from a message.
pub(super) enum Part {
    /// The unit goes on.
    Inside,
    /// Nothing to wait for: passwords, data of COPY.
    PassOn(Vec<u8>),
    /// As much of a unit as is there already runs now.
    Flush(Vec<u8>),
    /// The unit is complete.
    End(Unit),
}

/// What a client sends before it waits for ReadyForQuery.
pub(super) struct Unit {
    pub(super) bytes: Vec<u8>,
    /// Where a fault may strike it.
    pub(super) place: Option<At>,
    pub(super) request: Request,
}

/// What is kept of a unit while it isn't answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    /// What it runs.
    pub(super) sql: String,
    /// Whether its transaction has read or written by then, and so has the snapshot that its isolation level gives it.
    pub(super) has_read: bool,
    /// It ends with a Sync.
    pub(super) by_sync: bool,
    /// The server is in the middle of COPY, and ignores that Sync.
    pub(super) awaits_sync: bool,
}

impl Unit {
    /// One that the lab says nothing about: the start of a session, and what a fault sends.
    pub(super) fn other(bytes: Vec<u8>) -> Self {
        Self { bytes, place: None, request: Request::default() }
    }
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
                Part::End(self.end(false))
            }
            b'P' => {
                let (name, sql) = (field().to_vec(), text(field()));
                remember(&mut self.statements, name, sql);
                Part::Inside
            }
            b'B' => {
                let (portal, statement) = (field().to_vec(), field());
                let sql = self.statements.get(statement).cloned().unwrap_or_default();
                remember(&mut self.portals, portal, sql);
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
            b'S' | b'F' => Part::End(self.end(message.kind == b'S')),
            b'p' | b'd' | b'c' | b'f' | b'X' => Part::PassOn(std::mem::take(&mut self.bytes)),
            b'H' => Part::Flush(std::mem::take(&mut self.bytes)),
            _ => Part::Inside,
        }
    }

    fn end(&mut self, by_sync: bool) -> Unit {
        let sql = std::mem::take(&mut self.runs).join("; ");
        let commands = commands(&sql);
        let place = self.place(&commands);
        self.follow(&commands);
        let request = Request { sql, has_read: self.has_read, by_sync, awaits_sync: false };
        Unit { bytes: std::mem::take(&mut self.bytes), place, request }
    }

    fn place(&mut self, commands: &[String]) -> Option<At> {
        let any = |words: &[&str]| commands.iter().any(|command| words.contains(&first(command)));
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

    fn follow(&mut self, commands: &[String]) {
        for command in commands {
            match first(command) {
                "ROLLBACK" if command == "ROLLBACK TO" => {}
                "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" => {
                    self.has_read = false;
                }
                "" | "SET" | "RESET" | "SHOW" | "SAVEPOINT" | "RELEASE" | "DEALLOCATE"
                | "LISTEN" | "UNLISTEN" | "NOTIFY" => {}
                _ => self.has_read = true,
            }
        }
    }
}

fn remember(texts: &mut HashMap<Vec<u8>, String>, name: Vec<u8>, sql: String) {
    if texts.len() >= MOST_NAMES && !texts.contains_key(&name) {
        texts.clear();
    }
    texts.insert(name, sql);
}

fn first(command: &str) -> &str {
    command.split(' ').next().unwrap_or_default()
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
            '-' | '/' => comment(rest),
            _ => None,
        };
        // A semicolon in a string, a comment or a function's body ends no command.
        rest = match quoted {
            Some(end) => {
                unquoted.push(' ');
                &rest[end..]
            }
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

/// The length of the comment that `sql` starts with. Those in `/*` may be nested.
fn comment(sql: &str) -> Option<usize> {
    if sql.starts_with("--") {
        return Some(sql.find('\n').unwrap_or(sql.len()));
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = sql.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if depth > 0 && rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    sql.starts_with("/*").then_some(at)
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
        let end = |part| if let Part::End(unit) = part { Some(unit.place) } else { None };
        parts.filter_map(end).collect()
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

    #[test]
    fn comments_hide_no_command_and_make_none() {
        assert_eq!(
            commands("/* it's; /* a */ */ begin -- ; don't\n; SET TRANSACTION"),
            ["BEGIN", "SET TRANSACTION"]
        );
        assert_eq!(commands("SELECT 1 - 2 / 3 -- end"), ["SELECT 1"]);
        assert_eq!(commands("/* open"), [""]);
    }

    #[test]
    fn a_transaction_has_read_from_its_first_statement_on() {
        let mut units = Units::default();
        let mut has_read = |sql: &str| match units.push(&message(b'Q', &format!("{sql}\0"))) {
            Part::End(unit) => unit.request.has_read,
            _ => panic!("one message is one unit"),
        };
        for (sql, expected) in [
            ("BEGIN; SET LOCAL lock_timeout = 5", false),
            ("SAVEPOINT s", false),
            ("/* first */ SELECT 1", true),
            ("ROLLBACK TO s", true),
            ("COMMIT AND CHAIN", false),
            ("SHOW lock_timeout", false),
            ("UPDATE a SET b = 1; RELEASE s", true),
            ("ROLLBACK", false),
            ("START TRANSACTION; LOCK TABLE a", true),
        ] {
            assert_eq!(has_read(sql), expected, "{sql}");
        }
    }

    #[test]
    fn texts_are_remembered_by_name_and_not_without_end() {
        let mut units = Units::default();
        for i in 0..=MOST_NAMES {
            units.push(&message(b'P', &format!("s{i}\0SELECT {i}\0\0\0")));
        }
        assert_eq!(units.statements.len(), 1);
        units.push(&message(b'B', &format!("p\0s{MOST_NAMES}\0\0\0\0\0\0\0")));
        units.push(&message(b'E', "p\0\0\0\0\0"));
        let Part::End(unit) = units.push(&message(b'S', "")) else { panic!("a Sync ends it") };
        assert_eq!(unit.request.sql, format!("SELECT {MOST_NAMES}"));
        assert!(unit.request.by_sync);
    }
}
