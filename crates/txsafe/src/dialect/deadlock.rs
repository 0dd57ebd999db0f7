//! What is known of a deadlock beyond the server's own words.

use std::{fmt, panic::Location};

/// What is known of a deadlock beyond the server's own words: what this transaction held, and who the others were.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Deadlock {
    /// What this transaction held, in the order in which it took it: a table, an advisory lock or a sequence, with the
    /// place in the code or the statement that took it.
    pub held: Vec<String>,
    /// The others of the circle.
    pub others: Vec<Opponent>,
    /// The inversion that the lock graph knew of, between this transaction and one of the others.
    pub inversion: Option<String>,
}

/// One of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opponent {
    /// Its server process.
    pub process: u32,
    /// The name of its transaction, or its `application_name` if it isn't one of ours. It is asked for after the deadlock:
    /// of a transaction that was over by then it isn't known, nor of a session without a name.
    pub transaction: Option<String>,
    /// Where that transaction is called, if it was seen in this process.
    pub place: Option<&'static Location<'static>>,
}

/// The processes of the circle but our own, as the DETAIL of `40P01` has them: a line for each, which begins with the
/// process that waits. The first line is that of the process which found the deadlock, and died of it.
///
/// Only numbers are read, because the words come in the server's language.
/// Source: PostgreSQL, `DeadLockReport` in `src/backend/storage/lmgr/deadlock.c`.
pub(crate) fn others(detail: &str) -> Vec<u32> {
    let process = |line: &str| {
        line.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?.parse().ok()
    };
    detail.lines().skip(1).filter_map(process).collect()
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if !self.held.is_empty() {
            write!(f, "it held {}", self.held.join(", "))?;
            separator = ", ";
        }
        for other in &self.others {
            write!(f, "{separator}against {other}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for Opponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.transaction, self.place) {
            (Some(name), Some(place)) => write!(f, "transaction \"{name}\" ({place})"),
            (Some(name), None) => write!(f, "transaction \"{name}\""),
            (None, _) => write!(f, "process {}", self.process),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_others_are_read_in_any_language() {
        let english = "Process 11 waits for ShareLock on transaction 900; blocked by process 22.\n\
                       Process 22 waits for ExclusiveLock on tuple (0,1) of relation 5 of database 6; blocked by process 11.";
        assert_eq!(others(english), [22]);
        let german = "Prozess 11 wartet auf ShareLock-Sperre auf Transaktion 900; blockiert von Prozess 22.\n\
                      Prozess 22 wartet auf ShareLock-Sperre auf Transaktion 901; blockiert von Prozess 33.\n\
                      Prozess 33 wartet auf ShareLock-Sperre auf Transaktion 902; blockiert von Prozess 11.";
        assert_eq!(others(german), [22, 33]);
        assert_eq!(others(""), []);
        assert_eq!(others("who knows\n?"), []);
    }
}
