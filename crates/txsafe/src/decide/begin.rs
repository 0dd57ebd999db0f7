//! The text that begins a transaction: BEGIN and its settings in one message.
//!
//! BEGIN stands alone, and isolation and access follow in SET TRANSACTION: a refusal inside BEGIN itself would leave
//! the session outside any transaction, while one after it leaves an aborted transaction that refuses what follows.
//!
//! All settings are `SET LOCAL`: they end with the transaction and pass through a pooler in transaction mode.
//! Source: PostgreSQL manual, "SET" and section 20.11, "Client Connection Defaults".

use super::{options::Isolation, settings::Settings};
use std::{fmt::Write, time::Duration};

/// The longest `application_name` that the server keeps (`NAMEDATALEN - 1`).
const APPLICATION_NAME_BYTES: usize = 63;

/// What is sent to begin one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    sql: String,
    is_awaited: bool,
}

impl Begin {
    /// BEGIN with `settings`, where this attempt has its own `lock_timeout` and `statement_timeout`.
    pub(crate) fn new(
        settings: &Settings,
        lock_timeout: Duration,
        statement_timeout: Duration,
        application_name: &str,
    ) -> Self {
        let mut sql = String::with_capacity(256);
        sql.push_str("BEGIN");
        let characteristics = [
            settings.isolation.map(set_isolation),
            settings.read_only.then_some("READ ONLY"),
            settings.deferrable.then_some("DEFERRABLE"),
        ];
        for (i, characteristic) in characteristics.into_iter().flatten().enumerate() {
            sql.push_str(if i == 0 { "; SET TRANSACTION " } else { ", " });
            sql.push_str(characteristic);
        }
        let idle = settings.idle_in_transaction_session_timeout;
        for (setting, timeout) in [
            ("lock_timeout", Some(lock_timeout)),
            ("statement_timeout", Some(statement_timeout)),
            ("idle_in_transaction_session_timeout", Some(idle)),
            ("transaction_timeout", settings.transaction_timeout),
        ] {
            if let Some(timeout) = timeout {
                // Formatting it as the u128 that it is takes ten times as long.
                let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
                for part in ["; SET LOCAL ", setting, " = "] {
                    sql.push_str(part);
                }
                // Writing to a String can't fail.
                let _ = write!(sql, "{ms}");
            }
        }
        sql.push_str("; SET LOCAL application_name = ");
        push_literal(&mut sql, cut(application_name, APPLICATION_NAME_BYTES));
        Self { sql, is_awaited: true }
    }

    /// The same, with its answer waited for before anything else is sent, or not.
    pub(crate) fn awaited(self, is_awaited: bool) -> Self {
        Self { is_awaited, ..self }
    }

    /// Whether the first statement waits for the answer to BEGIN; else it may be sent right behind it.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// One simple-query message.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }
}

fn set_isolation(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "ISOLATION LEVEL READ COMMITTED",
        Isolation::RepeatableRead => "ISOLATION LEVEL REPEATABLE READ",
        Isolation::Serializable => "ISOLATION LEVEL SERIALIZABLE",
    }
}

/// `text` cut to `bytes` on a character boundary.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// A string literal that is safe whatever `standard_conforming_strings` is.
/// Source: PostgreSQL manual, section 4.1.2.2, "String Constants with C-Style Escapes".
pub(crate) fn push_literal(sql: &mut String, text: &str) {
    if text.contains('\\') {
        sql.push('E');
    }
    sql.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            sql.push(c);
        }
        sql.push(c);
    }
    sql.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TxOptions;

    fn begin(options: TxOptions, name: &str) -> String {
        let settings = Settings::resolve(&TxOptions::new(), &options).unwrap();
        let (lock, statement) = (Duration::from_millis(20), Duration::from_secs(5));
        Begin::new(&settings, lock, statement, name).sql().to_owned()
    }

    #[test]
    fn one_message_holds_everything() {
        let options = TxOptions::new()
            .isolation(Isolation::Serializable)
            .read_only(true)
            .deferrable(true)
            .transaction_timeout(Duration::from_secs(9));
        assert_eq!(
            begin(options, "shop/report"),
            "BEGIN\
             ; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE\
             ; SET LOCAL lock_timeout = 20\
             ; SET LOCAL statement_timeout = 5000\
             ; SET LOCAL idle_in_transaction_session_timeout = 30000\
             ; SET LOCAL transaction_timeout = 9000\
             ; SET LOCAL application_name = 'shop/report'"
        );
    }

    #[test]
    fn names_cannot_leave_their_literal() {
        let name_of = |name| {
            let sql = begin(TxOptions::new(), name);
            sql.rsplit_once("application_name = ").unwrap().1.to_owned()
        };
        assert_eq!(name_of("o'clock"), "'o''clock'");
        assert_eq!(name_of("'; DROP TABLE t; --"), "'''; DROP TABLE t; --'");
        assert_eq!(name_of(r"back\'slash"), r"E'back\\''slash'");
        assert_eq!(name_of(&"é".repeat(40)), format!("'{}'", "é".repeat(31)));
    }
}
