//! SQLite: one writer at a time, no server, and no aborted state: a failed statement leaves its transaction open. Adapters
//! refuse what would follow one, as PostgreSQL does, so that one code base means the same on both.

pub(crate) mod codes;

use super::{
    Ask, Dialect,
    begin::{Begin, BeginSettings},
    failure::Failure,
    leaving,
    limits::Limits,
    mark::{Identity, Mark},
};
pub use codes::{failure, is_io_error};
use std::{fmt::Write, time::Duration};

/// SQLite.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct Sqlite;

/// By this savepoint a transaction is known again: whatever ended it has ended the savepoint too.
macro_rules! savepoint {
    () => {
        "txsafe"
    };
}

/// Goes before COMMIT, which ends whatever transaction is open: it fails where ours isn't.
const RELEASE: &str = concat!("RELEASE SAVEPOINT ", savepoint!());

impl Dialect for Sqlite {
    fn system(&self) -> &'static str {
        "sqlite"
    }

    /// A transaction takes the write lock at its begin: one that reads first, and finds at its first write that somebody else
    /// has written meanwhile, can only be rolled back, whatever `busy_timeout` is. One that only reads takes none.
    ///
    /// Every isolation level is serializable here. The other timeouts have no counterpart.
    /// Source: SQLite, "Transaction" and "PRAGMA busy_timeout".
    fn begin(&self, settings: &BeginSettings<'_>, mark: Mark) -> Begin {
        let mut sql = String::with_capacity(96);
        if let Some(timeout) = settings.lock_timeout {
            let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            // It is an int of C; writing to a String can't fail.
            let _ = write!(sql, "PRAGMA busy_timeout = {}; ", ms.clamp(1, i32::MAX as u64));
        }
        sql.push_str(match settings.read_only {
            Some(true) => "PRAGMA query_only = 1; BEGIN DEFERRED; ",
            Some(false) | None => "BEGIN IMMEDIATE; ",
        });
        sql.push_str(concat!("SAVEPOINT ", savepoint!()));
        Begin::new(sql, mark, RELEASE)
    }

    /// All writers share one lock, and take it at BEGIN.
    fn can_deadlock(&self) -> bool {
        false
    }

    fn question(&self, ask: Ask) -> Option<&'static str> {
        match ask {
            // The file's path, with its links resolved; none for a database in memory.
            Ask::Database => Some(
                "SELECT nullif(file, '') AS answer FROM pragma_database_list WHERE name = 'main'",
            ),
            Ask::Limits => Some("SELECT CAST(timeout AS text) AS answer FROM pragma_busy_timeout"),
            Ask::Mark => {
                Some(concat!("RELEASE SAVEPOINT ", savepoint!(), "; SAVEPOINT ", savepoint!()))
            }
            Ask::ClaimKey => Some(
                "INSERT INTO txsafe_idempotency_keys (transaction_name, key) VALUES ($1, $2) \
                 ON CONFLICT DO NOTHING RETURNING 'new' AS answer",
            ),
            Ask::ClaimKeyWithFingerprint => Some(
                "INSERT INTO txsafe_idempotency_keys (transaction_name, key, fingerprint) \
                 VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 'new' AS answer",
            ),
            Ask::OtherFingerprint => Some(
                "SELECT 'other' AS answer FROM txsafe_idempotency_keys \
                 WHERE transaction_name = $1 AND key = $2 AND fingerprint <> $3",
            ),
            // No answer of COMMIT is lost inside one process, nobody deadlocks, and no session has locks of its own. Who holds
            // a key in progress holds the one lock of all writers, for which BEGIN waits.
            Ask::AwaitKey
            | Ask::Witness
            | Ask::CommitStatus
            | Ask::EndSession
            | Ask::Opponents
            | Ask::DeferredConstraints
            | Ask::UnlockAll => None,
        }
    }

    /// Milliseconds. 0 is the shortest: not to wait at all.
    fn limits(&self, answer: &str) -> Option<Limits> {
        let timeout = Duration::from_millis(answer.parse().ok()?);
        Some(Limits { lock_timeout: Some(timeout), ..Limits::default() })
    }

    fn identity(&self, _mark: &Mark, answer: &Result<Option<String>, Failure>) -> Option<Identity> {
        match answer {
            Ok(_) => Some(Identity::Ours),
            Err(failure) if failure.is_lost() => None,
            Err(_no_such_savepoint) => Some(Identity::NotOpen),
        }
    }
}

/// Whether a statement ends the transaction. The body of a trigger is no statement.
#[must_use]
pub fn leaves_transaction(sql: &str) -> bool {
    leaving::leaves(sql, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_trigger_ends_nothing() {
        let body = "AFTER INSERT ON orders BEGIN UPDATE stock SET n = n - 1; END";
        for create in ["CREATE TRIGGER", "create temp trigger", "CREATE TEMPORARY TRIGGER"] {
            assert!(!leaves_transaction(&format!("{create} sold {body}")), "{create}");
        }
        assert!(leaves_transaction("END") && leaves_transaction("CREATE TABLE t (n); COMMIT"));
        let again = format!("DROP TRIGGER IF EXISTS sold; CREATE TRIGGER sold {body}; SELECT 1");
        assert!(!leaves_transaction(&again));
        assert!(leaves_transaction(&format!("CREATE TRIGGER sold {body}; COMMIT")));
    }

    #[test]
    fn who_may_write_takes_the_write_lock_at_once() {
        let begin = |read_only, lock_timeout| {
            let settings = BeginSettings {
                isolation: None,
                read_only,
                deferrable: false,
                lock_timeout,
                lock_timeout_at_commit: None,
                statement_timeout: Some(Duration::from_secs(5)),
                idle_in_transaction_session_timeout: Some(Duration::from_secs(30)),
                transaction_timeout: None,
                local: "",
                without_set: false,
                application_name: "shop",
            };
            Sqlite.begin(&settings, Mark::new(7)).sql().to_owned()
        };
        assert_eq!(
            begin(None, Some(Duration::from_millis(20))),
            "PRAGMA busy_timeout = 20; BEGIN IMMEDIATE; SAVEPOINT txsafe"
        );
        assert_eq!(
            begin(Some(true), Some(Duration::MAX)),
            "PRAGMA busy_timeout = 2147483647; PRAGMA query_only = 1; BEGIN DEFERRED; SAVEPOINT txsafe"
        );
        assert_eq!(begin(None, None), "BEGIN IMMEDIATE; SAVEPOINT txsafe", "the connection's own");
    }

    #[test]
    fn a_connection_that_does_not_wait_has_the_shortest_limit() {
        let lock_timeout = |answer| Sqlite.limits(answer).map(|limits| limits.lock_timeout);
        assert_eq!(lock_timeout("0"), Some(Some(Duration::ZERO)));
        assert_eq!(lock_timeout("5000"), Some(Some(Duration::from_secs(5))));
        assert_eq!(lock_timeout("soon"), None);
    }
}
