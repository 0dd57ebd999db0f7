//! What a statement changes on its session, as far as its text tells.

use super::{clause::Reader, savepoints::SavepointChange, session_state::Kind};
use crate::dialect::words::{Token, Words, is_word_part};

/// The changes of the statements in a text, each with its statement.
pub(super) fn of(sql: &str) -> impl Iterator<Item = (&str, Change)> {
    Statements::of(sql)
        .flat_map(|(statement, tokens)| changes(&tokens).into_iter().map(move |it| (statement, it)))
}

/// Whether a text is worth reading: it is a quick look that most statements don't pass.
#[must_use]
pub(crate) fn may_change(sql: &str) -> bool {
    const FIRST: [&[u8]; 14] = [
        b"close",
        b"create",
        b"deallocate",
        b"declare",
        b"discard",
        b"drop",
        b"listen",
        b"prepare",
        b"release",
        b"reset",
        b"rollback",
        b"savepoint",
        b"set",
        b"unlisten",
    ];
    let sql = sql.trim_ascii().as_bytes();
    let end = sql.iter().position(|&byte| !is_word_part(byte)).unwrap_or(sql.len());
    let first = &sql[..end];
    // Before a comment, or a parenthesis, may stand what is looked for.
    if first.is_empty() || FIRST.iter().any(|word| first.eq_ignore_ascii_case(word)) {
        return !sql.is_empty();
    }
    // Without a branch, so that the compiler looks at many bytes at once.
    let pairs = sql.iter().zip(sql.get(1..).unwrap_or_default());
    if !pairs.fold(false, |any, (&byte, &next)| any | is_hint(byte, next)) {
        return false;
    }
    let starts = |at: usize, word: &[u8]| {
        sql.get(at..at + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word))
    };
    (end..sql.len().saturating_sub(1)).any(|i| match sql[i] {
        b';' => true,
        b'_' => starts(i, b"_advisory") || starts(i, b"_config"),
        b'm' | b'M' => i > 2 && starts(i - 2, b"temp") && !is_word_part(sql[i - 3]),
        _ => false,
    })
}

/// Whether two bytes may be part of what is looked for behind the first word: a further statement, `_advisory`, `_config`,
/// or `INTO TEMP`.
fn is_hint(byte: u8, next: u8) -> bool {
    let (byte, next) = (byte | 0x20, next | 0x20);
    // With that bit, `_` is DEL, and `;` is as before.
    (byte == b';')
        | ((byte == 0x7F) & ((next == b'a') | (next == b'c')))
        | ((byte == b'm') & (next == b'p'))
}

/// What one statement changes.
pub(super) enum Change {
    Leaves(Kind, String),
    /// A setting of this name, for the session or for the transaction alone: a bind value says which.
    MaySet(String),
    /// All of this kind, or that of this name.
    Undoes(Kind, Option<String>),
    /// One advisory lock.
    Unlocks(String),
    Savepoint(SavepointChange),
}

/// The statements of a text that run with it, each with its tokens.
struct Statements<'s> {
    sql: &'s str,
    words: Words<'s>,
    /// In the body of a function in standard SQL, whose statements run when it is called.
    is_in_body: bool,
}

impl<'s> Statements<'s> {
    fn of(sql: &'s str) -> Self {
        Self { sql, words: Words::new(sql), is_in_body: false }
    }
}

impl<'s> Iterator for Statements<'s> {
    type Item = (&'s str, Vec<Token<'s>>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.words.position();
            let mut tokens = Vec::new();
            let mut end = start;
            while let Some(token) = self.words.token().filter(|token| *token != Token::End) {
                tokens.push(token);
                end = self.words.position();
            }
            if tokens.is_empty() {
                if self.words.rest().is_empty() {
                    return None;
                }
                continue;
            }
            let statement = Reader(&tokens);
            if self.is_in_body {
                self.is_in_body = !statement.clone().eat("end");
                continue;
            }
            if statement.clone().eat("create") {
                let body = statement.find(&["begin", "atomic"]);
                self.is_in_body = body.is_some_and(|mut rest| !rest.eat("end"));
            }
            return Some((self.sql.get(start..end).unwrap_or_default().trim_ascii(), tokens));
        }
    }
}

/// What one statement changes.
fn changes(tokens: &[Token<'_>]) -> Vec<Change> {
    let mut rest = Reader(tokens);
    let first = rest.word().map(str::to_ascii_lowercase).unwrap_or_default();
    let leaves = |kind, name: Option<String>| name.map(|name| Change::Leaves(kind, name));
    let change = match &*first {
        "set" => rest.set(),
        "reset" => return rest.reset(),
        "listen" => leaves(Kind::Listen, rest.name()),
        "unlisten" => Some(Change::Undoes(Kind::Listen, rest.name())),
        "create" => leaves(Kind::TemporaryTable, rest.create()),
        "drop" => return rest.drop(),
        "discard" if rest.eat("all") => {
            return Kind::ALL.map(|kind| Change::Undoes(kind, None)).into();
        }
        "discard" => {
            let is_temporary = rest.eat_any(&["temp", "temporary"]);
            is_temporary.then_some(Change::Undoes(Kind::TemporaryTable, None))
        }
        "prepare" if rest.eat("transaction") => None,
        "prepare" => leaves(Kind::PreparedStatement, rest.name()),
        "deallocate" => {
            rest.eat("prepare");
            Some(Change::Undoes(Kind::PreparedStatement, rest.name_or_all()))
        }
        "declare" => {
            let is_held = rest.find(&["cursor", "with", "hold"]).is_some();
            leaves(Kind::HeldCursor, rest.name().filter(|_| is_held))
        }
        "close" => Some(Change::Undoes(Kind::HeldCursor, rest.name_or_all())),
        "savepoint" => rest.name().map(SavepointChange::Set).map(Change::Savepoint),
        "release" => {
            rest.eat("savepoint");
            rest.name().map(SavepointChange::Release).map(Change::Savepoint)
        }
        "rollback" => {
            rest.eat_any(&["work", "transaction"]);
            let is_partial = rest.eat("to");
            rest.eat("savepoint");
            let name = rest.name().filter(|_| is_partial);
            name.map(SavepointChange::RollBackTo).map(Change::Savepoint)
        }
        // They run nothing, or what nobody sees.
        "alter" | "comment" | "do" | "explain" => None,
        "select" | "with" => {
            let into = leaves(Kind::TemporaryTable, rest.temporary_target());
            return into.into_iter().chain(rest.calls()).collect();
        }
        _ => return rest.calls(),
    };
    change.into_iter().collect()
}

impl Reader<'_, '_> {
    /// Behind `SET`.
    fn set(mut self) -> Option<Change> {
        if self.eat("local") {
            return None;
        }
        if self.eat_any(&["transaction", "constraints"]) {
            return None;
        }
        let is_session = self.eat("session");
        if self.eat("authorization") || self.eat_all(&["session", "authorization"]) {
            return Some(self.value(Kind::Role, "session_authorization".into()));
        }
        if is_session && self.eat("characteristics") {
            return Some(Change::Leaves(Kind::Setting, "characteristics".into()));
        }
        let name = self.setting()?;
        match &*name {
            // They are the transaction's own, whatever the form.
            "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => None,
            // Ours, which says what transaction this is.
            _ if name.starts_with("txsafe.") => None,
            "role" | "session_authorization" => Some(self.value(Kind::Role, name)),
            _ => Some(self.value(Kind::Setting, name)),
        }
    }

    /// What a setting is called, by whatever words it is set.
    fn setting(&mut self) -> Option<String> {
        for (words, name) in [
            (&["time", "zone"][..], "timezone"),
            (&["xml", "option"], "xmloption"),
            (&["schema"], "search_path"),
            (&["names"], "client_encoding"),
        ] {
            if self.eat_all(words) {
                return Some(name.into());
            }
        }
        // Their names are folded although they are quoted.
        self.name().map(|name| name.to_ascii_lowercase())
    }

    /// Behind the name of a setting.
    fn value(mut self, kind: Kind, name: String) -> Change {
        if !self.eat("to") {
            self.eat_sign(b'=');
        }
        let is_default = self.eat("default")
            || (kind == Kind::Role && self.eat("none"))
            || (name == "timezone" && self.eat("local"));
        if is_default { Change::Undoes(kind, Some(name)) } else { Change::Leaves(kind, name) }
    }

    /// Behind `RESET`.
    fn reset(mut self) -> Vec<Change> {
        let name = if self.eat("all") {
            None
        } else if self.eat_all(&["session", "authorization"]) {
            Some("session_authorization".to_owned())
        } else {
            self.setting()
        };
        let mut changes = vec![
            Change::Undoes(Kind::Setting, name.clone()),
            Change::Undoes(Kind::SetConfig, name.clone()),
        ];
        // ALL leaves roles as they are.
        if name.is_some() {
            changes.push(Change::Undoes(Kind::Role, name));
        }
        changes
    }

    /// The name of what is created, behind `CREATE`, if it stays, and goes with the session.
    fn create(mut self) -> Option<String> {
        self.eat_all(&["or", "replace"]);
        self.eat_any(&["global", "local"]);
        let is_temporary = self.eat_any(&["temp", "temporary"]);
        self.eat_any(&["recursive", "unlogged"]);
        if !self.eat_any(&["table", "view", "sequence"]) {
            return None;
        }
        self.eat_all(&["if", "not", "exists"]);
        let name = self.name()?;
        let is_temporary = is_temporary || name.starts_with("pg_temp.");
        let is_dropped = self.find(&["on", "commit", "drop"]).is_some();
        (is_temporary && !is_dropped).then(|| unqualified(name))
    }

    /// Behind `DROP`.
    fn drop(mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if !self.eat_any(&["table", "view", "sequence"]) {
            return changes;
        }
        self.eat_all(&["if", "exists"]);
        while let Some(name) = self.name() {
            changes.push(Change::Undoes(Kind::TemporaryTable, Some(unqualified(name))));
            if !self.eat_sign(b',') {
                break;
            }
        }
        changes
    }

    /// The name in `SELECT … INTO TEMP name`.
    fn temporary_target(&self) -> Option<String> {
        let (mut depth, mut inserts) = (0_u32, false);
        for (i, token) in self.0.iter().enumerate() {
            let mut rest = Self(&self.0[i..]);
            match token {
                Token::Sign(b'(') => depth += 1,
                Token::Sign(b')') => depth = depth.saturating_sub(1),
                Token::Word(_) if depth > 0 => {}
                Token::Word(_) if rest.eat_any(&["insert", "merge"]) => inserts = true,
                Token::Word(_) if rest.eat("into") && !inserts => {
                    if !rest.eat_any(&["temp", "temporary"]) {
                        return None;
                    }
                    rest.eat("table");
                    return rest.name();
                }
                _ => {}
            }
        }
        None
    }

    /// The calls of functions that change a session.
    fn calls(&self) -> Vec<Change> {
        let called = |i| match self.0.get(i..)? {
            [Token::Word(name), Token::Sign(b'('), rest @ ..] => call(name, &arguments(rest)),
            _ => None,
        };
        (0..self.0.len()).filter_map(called).collect()
    }
}

/// What a call of a function changes.
fn call(name: &[u8], arguments: &[&[Token<'_>]]) -> Option<Change> {
    let key = || format!("{arguments:?}");
    match &*name.to_ascii_lowercase() {
        b"pg_advisory_lock"
        | b"pg_advisory_lock_shared"
        | b"pg_try_advisory_lock"
        | b"pg_try_advisory_lock_shared" => Some(Change::Leaves(Kind::AdvisoryLock, key())),
        b"pg_advisory_unlock" | b"pg_advisory_unlock_shared" => Some(Change::Unlocks(key())),
        b"pg_advisory_unlock_all" => Some(Change::Undoes(Kind::AdvisoryLock, None)),
        b"set_config" => {
            let [setting, _, is_local] = arguments else { return None };
            let name = match setting.first() {
                Some(Token::Text(name)) => String::from_utf8_lossy(name).to_ascii_lowercase(),
                _ => String::new(),
            };
            match boolean(is_local) {
                Some(true) => None,
                Some(false) => Some(Change::Leaves(Kind::SetConfig, name)),
                None => Some(Change::MaySet(name)),
            }
        }
        _ => None,
    }
}

/// What stands between parentheses, of which the first is behind us, by its commas.
fn arguments<'t, 's>(tokens: &'t [Token<'s>]) -> Vec<&'t [Token<'s>]> {
    let mut depth = 0_u32;
    let mut arguments = Vec::new();
    let mut start = 0;
    for (i, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign(b')') if depth == 0 => {
                arguments.push(&tokens[start..i]);
                break;
            }
            Token::Sign(b',') if depth == 0 => {
                arguments.push(&tokens[start..i]);
                start = i + 1;
            }
            Token::Sign(b'(' | b'[') => depth += 1,
            Token::Sign(b')' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    arguments
}

/// A boolean that is written out. Of a bind value nobody knows.
fn boolean(argument: &[Token<'_>]) -> Option<bool> {
    let Some(Token::Word(value) | Token::Text(value)) = argument.first() else { return None };
    let value = value.trim_ascii();
    let is_any = |words: [&[u8]; 6]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    match () {
        () if is_any([b"true", b"t", b"yes", b"y", b"on", b"1"]) => Some(true),
        () if is_any([b"false", b"f", b"no", b"n", b"off", b"0"]) => Some(false),
        () => None,
    }
}

/// The last part of a name.
fn unqualified(mut name: String) -> String {
    match name.rfind('.') {
        Some(at) => name.split_off(at + 1),
        None => name,
    }
}
