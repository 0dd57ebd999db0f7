//! The two messages of a transaction: BEGIN with its settings, and what COMMIT's message says before COMMIT.
//!
//! Isolation and access follow BEGIN in SET TRANSACTION: a refusal inside BEGIN itself would leave the session outside
//! any transaction, while one after it leaves an aborted transaction that refuses what follows. `NOT DEFERRABLE`, which
//! is the server's default, can't be refused where no transaction is open. Inside one that has run a query the server
//! refuses it (`25001`), and only warns of BEGIN alone: so nobody's transaction is taken over.
//!
//! All settings are `SET LOCAL`: they end with the transaction and pass through a pooler in transaction mode. The
//! [`Mark`] alone has a value for the session, which the next transaction replaces.
//!
//! Where nothing may be set, characteristics stand in BEGIN itself, whose answer is then waited for.
//! Source: PostgreSQL manual, "SET" and section 20.11, "Client Connection Defaults".

use super::{literal::push_literal, mark::push_onto};
use crate::dialect::{
    begin::{Begin, BeginSettings},
    isolation::Isolation,
    mark::Mark,
    words::cut,
};
use std::{fmt::Write, time::Duration};

/// The longest `application_name` that the server keeps (`NAMEDATALEN - 1`).
const APPLICATION_NAME_BYTES: usize = 63;

/// BEGIN with `settings`.
pub(super) fn begin(settings: &BeginSettings<'_>, mark: Mark) -> Begin {
    if settings.without_set {
        return without_set(settings);
    }
    let mut sql = String::with_capacity(384);
    sql.push_str(if settings.deferrable { "BEGIN DEFERRABLE" } else { "BEGIN NOT DEFERRABLE" });
    for (i, characteristic) in characteristics(settings).enumerate() {
        sql.push_str(if i == 0 { "; SET TRANSACTION " } else { ", " });
        sql.push_str(characteristic);
    }
    push_onto(&mut sql, &mark);
    let idle = settings.idle_in_transaction_session_timeout;
    for (setting, timeout) in [
        ("lock_timeout", settings.lock_timeout),
        ("statement_timeout", settings.statement_timeout),
        ("idle_in_transaction_session_timeout", idle),
        ("transaction_timeout", settings.transaction_timeout),
    ] {
        if let Some(timeout) = timeout {
            sql.push_str("; ");
            push_timeout(&mut sql, setting, timeout);
        }
    }
    sql.push_str("; SET LOCAL application_name = ");
    push_literal(&mut sql, cut(settings.application_name, APPLICATION_NAME_BYTES));
    sql.push_str(settings.local);
    // A server that looks after its client would give up waiting for a standby if the client went away, and make visible
    // what isn't replicated.
    let mut before_commit = String::with_capacity(96);
    if let Some(timeout) = settings.lock_timeout_at_commit {
        push_timeout(&mut before_commit, "lock_timeout", timeout);
        before_commit.push_str("; ");
    }
    before_commit.push_str("SET LOCAL client_connection_check_interval = 0");
    Begin::new(sql, mark, before_commit)
}

/// BEGIN that sets nothing. It is awaited where a characteristic may be refused: a refusal in BEGIN itself leaves the session
/// outside of any transaction.
fn without_set(settings: &BeginSettings<'_>) -> Begin {
    let mut sql = String::from("BEGIN");
    let mut may_be_refused = false;
    for characteristic in characteristics(settings) {
        may_be_refused = true;
        sql.push(' ');
        sql.push_str(characteristic);
        sql.push(',');
    }
    sql.push_str(if settings.deferrable { " DEFERRABLE" } else { " NOT DEFERRABLE" });
    Begin::new(sql, None, "").awaited(may_be_refused)
}

fn characteristics(settings: &BeginSettings<'_>) -> impl Iterator<Item = &'static str> {
    let access = |only| if only { "READ ONLY" } else { "READ WRITE" };
    let isolation = settings.isolation.map(set_isolation);
    isolation.into_iter().chain(settings.read_only.map(access))
}

fn push_timeout(sql: &mut String, setting: &str, timeout: Duration) {
    // Formatting it as the u128 that it is takes ten times as long.
    let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
    for part in ["SET LOCAL ", setting, " = "] {
        sql.push_str(part);
    }
    // Writing to a String can't fail.
    let _ = write!(sql, "{ms}");
}

fn set_isolation(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "ISOLATION LEVEL READ COMMITTED",
        Isolation::RepeatableRead => "ISOLATION LEVEL REPEATABLE READ",
        Isolation::Serializable => "ISOLATION LEVEL SERIALIZABLE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(application_name: &str) -> BeginSettings<'_> {
        BeginSettings {
            isolation: None,
            read_only: None,
            deferrable: false,
            lock_timeout: Some(Duration::from_millis(20)),
            lock_timeout_at_commit: Some(Duration::from_secs(2)),
            statement_timeout: Some(Duration::from_secs(5)),
            idle_in_transaction_session_timeout: Some(Duration::from_secs(30)),
            transaction_timeout: None,
            application_name,
            local: "",
            without_set: false,
        }
    }

    fn begin(settings: &BeginSettings<'_>) -> Begin {
        super::begin(settings, Mark::new(7))
    }

    #[test]
    fn one_message_holds_everything() {
        let report = BeginSettings {
            isolation: Some(Isolation::Serializable),
            read_only: Some(true),
            deferrable: true,
            transaction_timeout: Some(Duration::from_secs(9)),
            local: "; SET LOCAL ROLE \"reader\"",
            ..settings("shop/report")
        };
        assert_eq!(
            begin(&report).sql(),
            "BEGIN DEFERRABLE\
             ; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY\
             ; SET txsafe.transaction = '0000000000000007'; SET LOCAL txsafe.transaction = '0000000000000007+'\
             ; SET LOCAL lock_timeout = 20\
             ; SET LOCAL statement_timeout = 5000\
             ; SET LOCAL idle_in_transaction_session_timeout = 30000\
             ; SET LOCAL transaction_timeout = 9000\
             ; SET LOCAL application_name = 'shop/report'\
             ; SET LOCAL ROLE \"reader\""
        );
        assert!(begin(&settings("x")).sql().starts_with("BEGIN NOT DEFERRABLE; SET txsafe"));
        let writes = BeginSettings { read_only: Some(false), ..settings("x") };
        let starts = "BEGIN NOT DEFERRABLE; SET TRANSACTION READ WRITE; SET txsafe";
        assert!(begin(&writes).sql().starts_with(starts));
    }

    #[test]
    fn what_the_attempt_sets_does_not_reach_commit() {
        assert_eq!(
            &*begin(&settings("x")).before_commit(),
            "SET LOCAL lock_timeout = 2000; SET LOCAL client_connection_check_interval = 0"
        );
    }

    #[test]
    fn what_is_left_to_the_session_is_not_set() {
        let left = BeginSettings {
            lock_timeout: None,
            lock_timeout_at_commit: None,
            statement_timeout: None,
            idle_in_transaction_session_timeout: None,
            ..settings("x")
        };
        let begin = begin(&left);
        assert_eq!(
            begin.sql(),
            "BEGIN NOT DEFERRABLE\
             ; SET txsafe.transaction = '0000000000000007'; SET LOCAL txsafe.transaction = '0000000000000007+'\
             ; SET LOCAL application_name = 'x'"
        );
        assert_eq!(&*begin.before_commit(), "SET LOCAL client_connection_check_interval = 0");
    }

    #[test]
    fn where_nothing_may_be_set_begin_stands_alone() {
        let bare = BeginSettings { without_set: true, ..settings("x") };
        let plain = begin(&bare);
        assert_eq!((plain.sql(), &*plain.before_commit()), ("BEGIN NOT DEFERRABLE", ""));
        assert!(plain.is_bare() && !plain.is_awaited());
        let report = BeginSettings {
            isolation: Some(Isolation::Serializable),
            read_only: Some(true),
            deferrable: true,
            ..bare
        };
        let begun = begin(&report);
        assert_eq!(begun.sql(), "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE");
        assert!(begun.is_awaited(), "a refusal would leave no transaction");
    }

    #[test]
    fn names_cannot_leave_their_literal() {
        let name_of = |name| {
            let begin = begin(&settings(name));
            let sql = begin.sql();
            sql.rsplit_once("application_name = ").unwrap().1.to_owned()
        };
        assert_eq!(name_of("o'clock"), "'o''clock'");
        assert_eq!(name_of("'; DROP TABLE t; --"), "'''; DROP TABLE t; --'");
        assert_eq!(name_of(r"back\'slash"), r"E'back\\''slash'");
        assert_eq!(name_of(&"é".repeat(40)), format!("'{}'", "é".repeat(31)));
    }
}
