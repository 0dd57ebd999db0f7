//! The client's words: which SQL each request runs.
//!
//! Source: PostgreSQL manual, section 54.7, "Message Formats": Parse, Bind, Close and Query.

use std::{collections::HashMap, sync::Arc};

/// More prepared statements than a driver's cache has: those that failed stay, and then all are forgotten.
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
    /// What it runs, as far as bodies of messages are kept.
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
                if self.prepared.len() >= MOST_STATEMENTS {
                    self.prepared.clear();
                }
                self.prepared.insert(name.into(), Arc::clone(&sql));
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

/// Up to where it was cut, between characters.
fn shown(sql: &[u8]) -> Arc<str> {
    let mut chunks = sql.utf8_chunks();
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
    fn what_was_cut_ends_between_characters() {
        let mut requests = Requests::default();
        let request = requests.take(b'Q', &"SELECT 'é'".as_bytes()[..9]);
        assert_eq!(request, runs("SELECT '"));
    }

    #[test]
    fn statements_that_failed_do_not_fill_it_for_good() {
        let mut requests = Requests::default();
        for n in 0..2 * MOST_STATEMENTS {
            requests.take(b'P', format!("s{n}\0SELECT {n}\0\0\0").as_bytes());
        }
        assert!(requests.prepared.len() <= MOST_STATEMENTS);
        let last = format!("\0s{}\0", 2 * MOST_STATEMENTS - 1);
        requests.take(b'S', b"");
        requests.take(b'B', last.as_bytes());
        assert_eq!(requests.take(b'S', b""), runs(&format!("SELECT {}", 2 * MOST_STATEMENTS - 1)));
    }
}
