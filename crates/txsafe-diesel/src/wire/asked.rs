//! The client's words: which SQL each request runs.
//!
//! Source: PostgreSQL manual, section 54.7, "Message Formats": Parse, Bind, Close and Query.

use std::{collections::HashMap, sync::Arc};

/// SQL is cut here, in bytes: so much of it is shown.
const SQL_BYTES: usize = 1_024;

/// More prepared statements than a driver's cache has are not remembered.
const MOST_STATEMENTS: usize = 4_096;

/// What the client has sent since the last request was complete, and what it prepared before.
#[derive(Debug, Default)]
pub(super) struct Requests {
    prepared: HashMap<Box<[u8]>, Arc<str>>,
    /// What the request runs that isn't complete yet.
    sql: Option<Arc<str>>,
    /// Something else than Close was sent since the last Sync.
    runs: bool,
}

/// A request that the server answers by one ReadyForQuery.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// What it runs, cut at 1 KiB.
    pub(super) sql: Option<Arc<str>>,
    /// It only lets go of prepared statements, and nobody waits for its answer.
    pub(super) lets_go: bool,
}

impl Requests {
    /// Whether the body of such a message is read.
    pub(super) fn reads(kind: u8) -> bool {
        matches!(kind, b'P' | b'B' | b'C' | b'Q')
    }

    /// Takes a message of the client; returns the request that it completes.
    pub(super) fn take(&mut self, kind: u8, body: &[u8]) -> Option<Request> {
        match kind {
            b'P' => {
                let (name, rest) = text(body);
                let sql = shown(text(rest).0);
                if self.prepared.len() < MOST_STATEMENTS || self.prepared.contains_key(name) {
                    self.prepared.insert(name.into(), Arc::clone(&sql));
                }
                self.sql = Some(sql);
            }
            b'B' => {
                let (_portal, rest) = text(body);
                self.sql = self.prepared.get(text(rest).0).cloned();
            }
            b'C' => {
                if let Some(name) = body.strip_prefix(b"S") {
                    self.prepared.remove(text(name).0);
                }
                return None;
            }
            b'Q' => {
                self.sql = Some(shown(text(body).0));
                return Some(self.complete(false));
            }
            b'S' => return Some(self.complete(!self.runs)),
            // FunctionCall, and the startup.
            b'F' | super::frames::STARTUP => return Some(self.complete(false)),
            _ => {}
        }
        self.runs = true;
        None
    }

    fn complete(&mut self, lets_go: bool) -> Request {
        self.runs = false;
        Request { sql: self.sql.take(), lets_go }
    }
}

/// The text up to the next zero, and what comes after that.
fn text(body: &[u8]) -> (&[u8], &[u8]) {
    let end = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
    (&body[..end], body.get(end + 1..).unwrap_or_default())
}

/// As much of it as is shown, cut between characters.
fn shown(sql: &[u8]) -> Arc<str> {
    let mut chunks = sql[..sql.len().min(SQL_BYTES)].utf8_chunks();
    chunks.next().map_or("", |chunk| chunk.valid()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(sql: &str) -> Option<Request> {
        Some(Request { sql: Some(sql.into()), lets_go: false })
    }

    #[test]
    fn a_request_runs_what_was_prepared_under_its_name() {
        let mut requests = Requests::default();
        assert_eq!(requests.take(b'P', b"s1\0SELECT 1\0\0\0"), None);
        assert_eq!(requests.take(b'S', b""), runs("SELECT 1"), "an error of it is about this");
        assert_eq!(requests.take(b'P', b"s2\0SELECT 2\0\0\0"), None);
        assert_eq!(requests.take(b'B', b"\0s1\0\0\0\0\0"), None);
        assert_eq!(requests.take(b'E', b""), None);
        assert_eq!(requests.take(b'S', b""), runs("SELECT 1"));
        assert_eq!(requests.take(b'Q', b"SELECT 3; SELECT 4\0"), runs("SELECT 3; SELECT 4"));
        assert_eq!(requests.take(b'C', b"Ss1\0"), None);
        let lets_go = Request { sql: None, lets_go: true };
        assert_eq!(requests.take(b'S', b""), Some(lets_go));
        assert_eq!(requests.take(b'B', b"\0s1\0\0\0\0\0"), None);
        assert_eq!(requests.take(b'S', b""), Some(Request::default()), "it is forgotten");
    }

    #[test]
    fn long_sql_is_cut() {
        let mut requests = Requests::default();
        let long = ["-", &"é".repeat(SQL_BYTES), "\0"].concat();
        let sql = requests.take(b'Q', long.as_bytes()).and_then(|request| request.sql);
        assert_eq!(sql.as_deref(), Some(&long[..SQL_BYTES - 1]), "between characters");
    }
}
