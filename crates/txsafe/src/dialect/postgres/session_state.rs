//! What statements leave on a connection, beyond their transaction: for whoever gets the connection next.
//!
//! It is read from the text of statements that were seen. What functions and procedures do isn't, nor what a bind value
//! says.

use super::{
    changes::{self, Change},
    savepoints::SavepointChange,
};
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
    /// All of them.
    pub(super) const ALL: [Self; 8] = [
        Self::AdvisoryLock,
        Self::Setting,
        Self::Role,
        Self::SetConfig,
        Self::Listen,
        Self::TemporaryTable,
        Self::PreparedStatement,
        Self::HeldCursor,
    ];

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
        for (statement, change) in changes::of(sql) {
            self.change(change, statement, is_ok);
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
            Change::Leaves(..) | Change::MaySet(_) => {}
            Change::Undoes(kind, Some(name)) => {
                self.left.retain(|left| left.kind != kind || left.name != name);
            }
            Change::Undoes(kind, None) => self.left.retain(|left| left.kind != kind),
            Change::Unlocks(key) => self.unlock(&key),
            Change::Savepoint(change) => self.change_savepoint(change),
        }
    }

    fn change_savepoint(&mut self, change: SavepointChange) {
        match change {
            SavepointChange::Set(name) => self.savepoints.push((name, self.left.clone())),
            SavepointChange::Release(name) => {
                if let Some(at) = self.savepoint(&name) {
                    self.savepoints.truncate(at);
                }
            }
            SavepointChange::RollBackTo(name) => {
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
