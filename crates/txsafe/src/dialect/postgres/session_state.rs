//! What statements leave on a connection, beyond their transaction: for whoever gets the connection next.
//!
//! It is read from the text of statements that were seen. What functions and procedures do isn't, nor what a bind value
//! says.

use crate::dialect::words::{Token, Words, is_word_part};
use std::mem;

/// What can be left on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub(crate) enum Kind {
    /// A session-level advisory lock, as by `pg_advisory_lock`.
    AdvisoryLock,
    /// A setting, by `SET`.
    Setting,
    /// A role, by `SET ROLE` or `SET SESSION AUTHORIZATION`.
    Role,
    /// A setting, by `set_config(…, …, false)`.
    SetConfig,
    /// A channel, by `LISTEN`.
    Listen,
    /// A temporary table, view or sequence.
    TemporaryTable,
    /// A statement, by SQL's `PREPARE`.
    PreparedStatement,
    /// A cursor, by `DECLARE … WITH HOLD`.
    HeldCursor,
}

/// So many things are remembered of one attempt. Any of them is reason enough to close its connection.
const MOST_LEFT: usize = 256;

/// Something that is left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) struct Left {
    /// What it is.
    pub kind: Kind,
    /// By which statement.
    pub sql: String,
    /// Whether that statement succeeded. One that failed, or whose end nobody waited for, may have left it or not.
    pub is_certain: bool,
    /// What undoes it goes by this name.
    name: String,
}

/// What the statements of one attempt have left on its connection so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionState {
    left: Vec<Left>,
    savepoints: Vec<(String, Vec<Left>)>,
}

/// Where the state stood, for [`SessionState::rolled_back_to`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Mark(Vec<Left>);

impl Kind {
    /// What it is, in PostgreSQL's words.
    #[must_use]
    pub(crate) fn title(self) -> &'static str {
        self.words().0
    }

    /// What to use instead.
    #[must_use]
    pub(crate) fn instead(self) -> &'static str {
        self.words().1
    }

    /// Whether it outlives ROLLBACK.
    #[must_use]
    pub(crate) fn survives_rollback(self) -> bool {
        matches!(self, Self::AdvisoryLock | Self::PreparedStatement)
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::AdvisoryLock => (
                "a session-level advisory lock (pg_advisory_lock)",
                "`pg_advisory_xact_lock` or a rank of advisory locks, which COMMIT and ROLLBACK release",
            ),
            Self::Setting => ("a setting (SET)", "`SET LOCAL`, which ends with the transaction"),
            Self::Role => {
                ("a role (SET ROLE)", "`SET LOCAL ROLE`, which ends with the transaction")
            }
            Self::SetConfig => (
                "a setting (set_config(…, false))",
                "`set_config(…, …, true)`, which ends with the transaction",
            ),
            Self::Listen => (
                "a notification channel (LISTEN)",
                "a connection of its own for LISTEN, outside of the pool",
            ),
            Self::TemporaryTable => (
                "a temporary table (CREATE TEMP TABLE)",
                "`ON COMMIT DROP`, or drop it before the transaction ends",
            ),
            Self::PreparedStatement => {
                ("a prepared statement (PREPARE)", "the driver's own prepared statements")
            }
            Self::HeldCursor => (
                "a cursor (WITH HOLD)",
                "a cursor without `WITH HOLD`, which ends with the transaction",
            ),
        }
    }
}

impl SessionState {
    /// A statement ran, or several in one text. If it failed, nothing counts as undone, and what ROLLBACK doesn't undo may
    /// have been left.
    pub(crate) fn ran(&mut self, sql: &str, is_ok: bool) {
        for (statement, tokens) in Statements::of(sql) {
            for change in changes(&tokens) {
                self.change(change, statement, is_ok);
            }
        }
    }

    /// What is left if the attempt ends by COMMIT, or by ROLLBACK.
    pub(crate) fn left(&self, is_committed: bool) -> impl Iterator<Item = &Left> {
        self.left.iter().filter(move |left| is_committed || left.kind.survives_rollback())
    }

    /// Where it stands now.
    #[must_use]
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.left.clone())
    }

    /// A savepoint was rolled back that was set at `mark`.
    pub(crate) fn rolled_back_to(&mut self, mark: Mark) {
        let now = mem::replace(&mut self.left, mark.0);
        self.left.retain(|left| !left.kind.survives_rollback());
        self.left.extend(now.into_iter().filter(|left| left.kind.survives_rollback()));
    }

    fn change(&mut self, change: Change, sql: &str, is_ok: bool) {
        match change {
            Change::Leaves(kind, name) if is_ok || kind.survives_rollback() => {
                if self.left.len() < MOST_LEFT {
                    let sql = shown(sql);
                    self.left.push(Left { kind, sql, is_certain: is_ok, name });
                }
            }
            _ if !is_ok => {}
            Change::Leaves(..) => {}
            Change::Undoes(kind, Some(name)) => {
                self.left.retain(|left| left.kind != kind || left.name != name);
            }
            Change::Undoes(kind, None) => self.left.retain(|left| left.kind != kind),
            Change::Unlocks(key) => self.unlock(&key),
            Change::Savepoint(name) => self.savepoints.push((name, self.left.clone())),
            Change::Release(name) => {
                if let Some(at) = self.savepoint(&name) {
                    self.savepoints.truncate(at);
                }
            }
            Change::RollbackTo(name) => {
                if let Some(at) = self.savepoint(&name) {
                    self.savepoints.truncate(at + 1);
                    self.rolled_back_to(Mark(self.savepoints[at].1.clone()));
                }
            }
        }
    }

    /// One is released for each unlock, of the same key if it is written in the same way.
    fn unlock(&mut self, key: &str) {
        let locks = || self.left.iter().rposition(|left| left.kind == Kind::AdvisoryLock);
        let is_it = |left: &Left| left.kind == Kind::AdvisoryLock && left.name == key;
        if let Some(at) = self.left.iter().rposition(is_it).or_else(locks) {
            self.left.remove(at);
        }
    }

    fn savepoint(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|(known, _)| known == name)
    }
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

/// Whether a statement of this text changes a setting of the session, for whatever follows it: one whose name `is_meant`. A name
/// that isn't written out is empty.
#[must_use]
pub(crate) fn changes_setting(sql: &str, is_meant: impl Fn(&str) -> bool) -> bool {
    let is_changed = |change| match change {
        Change::Leaves(Kind::Setting | Kind::SetConfig, name)
        | Change::Undoes(Kind::Setting | Kind::SetConfig, Some(name)) => is_meant(&name),
        Change::Undoes(Kind::Setting, None) => true,
        _ => false,
    };
    Statements::of(sql).any(|(_, tokens)| {
        Reader(&tokens).eat_all(&["discard", "all"]) || changes(&tokens).into_iter().any(is_changed)
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
enum Change {
    Leaves(Kind, String),
    /// All of this kind, or that of this name.
    Undoes(Kind, Option<String>),
    /// One advisory lock.
    Unlocks(String),
    Savepoint(String),
    Release(String),
    RollbackTo(String),
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
        "savepoint" => rest.name().map(Change::Savepoint),
        "release" => {
            rest.eat("savepoint");
            rest.name().map(Change::Release)
        }
        "rollback" => {
            rest.eat_any(&["work", "transaction"]);
            let is_partial = rest.eat("to");
            rest.eat("savepoint");
            rest.name().filter(|_| is_partial).map(Change::RollbackTo)
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

/// What is left of a statement's tokens.
#[derive(Clone)]
struct Reader<'t, 's>(&'t [Token<'s>]);

impl<'t, 's> Reader<'t, 's> {
    /// The next token, if it is a word.
    fn word(&mut self) -> Option<&'s str> {
        let (Token::Word(word), rest) = self.0.split_first()? else { return None };
        self.0 = rest;
        std::str::from_utf8(word).ok()
    }

    fn eat(&mut self, word: &str) -> bool {
        let is_next = matches!(self.0.first(), Some(Token::Word(next)) if next.eq_ignore_ascii_case(word.as_bytes()));
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    fn eat_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.eat(word))
    }

    fn eat_all(&mut self, words: &[&str]) -> bool {
        let mut rest = self.clone();
        let are_next = words.iter().all(|word| rest.eat(word));
        if are_next {
            *self = rest;
        }
        are_next
    }

    fn eat_sign(&mut self, sign: u8) -> bool {
        let is_next = self.0.first() == Some(&Token::Sign(sign));
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    /// What follows these words, wherever they stand.
    fn find(&self, words: &[&str]) -> Option<Self> {
        (0..self.0.len()).map(|i| Self(&self.0[i..])).find_map(|mut rest| {
            let is_there = rest.eat_all(words);
            is_there.then_some(rest)
        })
    }

    /// A name, folded as the server folds it, with what it is qualified by.
    fn name(&mut self) -> Option<String> {
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
    fn name_or_all(&mut self) -> Option<String> {
        if self.eat("all") { None } else { self.name() }
    }

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
            is_false(is_local).then_some(Change::Leaves(Kind::SetConfig, name))
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

/// Whether it is a boolean that is written out as false. Of a bind value nobody knows.
fn is_false(argument: &[Token<'_>]) -> bool {
    let Some(Token::Word(value) | Token::Text(value)) = argument.first() else { return false };
    let value = value.trim_ascii();
    [&b"false"[..], b"f", b"no", b"n", b"off", b"0"].iter().any(|no| value.eq_ignore_ascii_case(no))
}

/// The last part of a name.
fn unqualified(mut name: String) -> String {
    match name.rfind('.') {
        Some(at) => name.split_off(at + 1),
        None => name,
    }
}

/// A statement as findings show it.
fn shown(sql: &str) -> String {
    const MOST: usize = 200;
    match sql.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &sql[..end]),
        None => sql.to_owned(),
    }
}

#[cfg(test)]
mod tests;
