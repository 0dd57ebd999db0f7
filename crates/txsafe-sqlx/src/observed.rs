//! What is known of the attempt that runs on a connection, from the statements that passed through its `Tx`.

use crate::engine::Engine;
use sqlx::{Error as SqlxError, SqlStr};
use std::{cell::OnceCell, fmt, marker::PhantomData, sync::Arc, time::Instant};
use txsafe::{
    Failure, Trail,
    driver::{Calls, Notes, Standing},
};

/// What is known of the attempt that runs.
pub(crate) struct Observed<DB> {
    lost: Option<Failure>,
    /// The failure that aborted the transaction.
    aborted_by: Option<Failure>,
    /// A failure that a savepoint was rolled back for, with nothing done since.
    recovered_from: Option<Failure>,
    /// The closure ended the transaction by a statement.
    left: bool,
    /// Something ran that could have changed the transaction's state without our knowing.
    is_unsure: bool,
    /// Something ran that could have changed the session's own limits.
    changed_limits: bool,
    /// A savepoint is being set, released or rolled back. If that fails or is dropped, SQLx may end more than the savepoint, and
    /// what followed would run outside of our transaction.
    in_flux: Option<Failure>,
    /// The statement that runs, or whose end nobody waited for.
    running: Option<Running>,
    trail: Trail,
    notes: Notes,
    /// What the guard is told.
    calls: Arc<Calls>,
    /// Of statements on this database.
    database: PhantomData<fn() -> DB>,
}

#[derive(Debug)]
struct Running {
    sql: SqlStr,
    start: Instant,
    /// It rolls back to a savepoint, so its success isn't something done since.
    recovers: bool,
    /// It ends the transaction.
    leaves: bool,
    /// It isn't only prepared.
    runs: bool,
    /// A part of its answer has come, a row or the result of one of its statements, and not the end.
    sends_rows: bool,
}

impl<DB: Engine> Observed<DB> {
    /// Of an attempt that begins now, and notes what it sees there.
    pub(crate) fn new(notes: &Notes, calls: Arc<Calls>) -> Self {
        calls.begin();
        Self {
            lost: None,
            aborted_by: None,
            recovered_from: None,
            left: false,
            is_unsure: false,
            changed_limits: false,
            in_flux: None,
            running: None,
            trail: Trail::new(Instant::now()).with_ledger(notes.ledger.clone()),
            notes: notes.clone(),
            calls,
            database: PhantomData,
        }
    }

    /// What the guard is told.
    pub(crate) fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// A statement starts, with these bind values.
    pub(crate) fn runs(&mut self, sql: SqlStr, binds: Option<&DB::Arguments>) {
        let shown = OnceCell::new();
        let nth = |n| DB::nth_bind(shown.get_or_init(|| binds.map(DB::show_binds)).as_deref()?, n);
        self.notes.locks.will_run(sql.as_str(), nth);
        self.started(sql, true);
    }

    /// A statement is only to be prepared.
    pub(crate) fn prepares(&mut self, sql: SqlStr) {
        self.started(sql, false);
    }

    fn started(&mut self, sql: SqlStr, runs: bool) {
        self.given_up();
        self.calls.returned();
        self.calls.started(sql.as_str());
        let leaves = DB::leaves_transaction(sql.as_str());
        self.changed_limits |= DB::may_change_limits(sql.as_str());
        // Until its end is known.
        self.is_unsure |= leaves;
        let recovers = runs && first_word(sql.as_str()).eq_ignore_ascii_case("ROLLBACK");
        self.running =
            Some(Running { sql, start: Instant::now(), recovers, leaves, runs, sends_rows: false });
    }

    /// A row of the statement came.
    pub(crate) fn row(&mut self) {
        self.running.iter_mut().for_each(|running| running.sends_rows = true);
    }

    /// Whether rows are coming that nobody reads.
    pub(crate) fn has_unread_rows(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.sends_rows)
    }

    /// The statement came to its end.
    pub(crate) fn finished(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.left |= running.leaves;
        if DB::ABORTS || running.recovers {
            // In an aborted transaction nothing succeeds but the way out of it.
            self.recovered_from = match self.aborted_by.take() {
                None if running.recovers => self.recovered_from.take(),
                aborted_by => aborted_by,
            };
        } else if self.aborted_by.is_none() {
            self.recovered_from = None;
        }
        self.note_session(&running, true);
        self.calls.ended(running.sql.as_str());
        self.trail.push(running.sql.as_str(), running.start, Instant::now(), None);
    }

    /// The statement failed.
    pub(crate) fn failed(&mut self, error: &SqlxError) {
        let failure = DB::failure_of(error);
        let code = failure.sqlstate();
        let Some(running) = self.running.take() else {
            return self.note(failure);
        };
        self.note_session(&running, false);
        let Running { sql, start, .. } = running;
        let now = Instant::now();
        self.calls.ended(sql.as_str());
        self.trail.push(sql.as_str(), start, now, Some(code));
        let statement = Some(sql.as_str().to_owned());
        self.note(failure.with_statement(statement).with_took(Some(now - start)));
    }

    /// A question of txsafe's own was answered.
    pub(crate) fn answered(&mut self) {
        self.trail.answered(Instant::now());
    }

    /// Something failed outside a statement of ours.
    pub(crate) fn saw(&mut self, error: &SqlxError) {
        self.note(DB::failure_of(error));
    }

    /// Something runs that isn't seen.
    pub(crate) fn unseen(&mut self) {
        self.calls.lent();
        self.trail.runs_unseen();
        self.is_unsure = true;
        self.changed_limits = true;
    }

    /// Whether the session's own limits are to be read again.
    pub(crate) fn may_have_changed_limits(&self) -> bool {
        self.changed_limits
    }

    /// Whether the server must be asked at the end.
    pub(crate) fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// The failure for which a statement must not run: one before it failed, and the database itself would run it, maybe outside
    /// of any transaction.
    fn refuses(&mut self, sql: &str) -> Option<&Failure> {
        self.given_up();
        if self.in_flux.is_some() {
            return self.in_flux.as_ref();
        }
        let failure = self.aborted_by.as_ref().filter(|_| !DB::ABORTS)?;
        let is_way_out = is_one(sql) && first_word(sql).eq_ignore_ascii_case("ROLLBACK");
        (!is_way_out).then_some(failure)
    }

    /// The failure for which no savepoint may be set: behind one, SQLx would roll back more than that, on every database.
    pub(crate) fn refuses_savepoint(&mut self) -> Option<&Failure> {
        self.given_up();
        self.in_flux.as_ref().or(self.aborted_by.as_ref())
    }

    /// What the caller gets in place of such a statement's answer.
    pub(crate) fn refusal(&mut self, sql: &str) -> Option<SqlxError> {
        let failure = self.refuses(sql)?;
        Some(SqlxError::Protocol(format!(
            "the transaction is aborted by an earlier failure ({failure}), and runs nothing more: return the error, or \
             run what may fail in `tx.savepoint(…)`",
        )))
    }

    /// A statement whose future was dropped has failed where its error gets lost with it, unless it only reads.
    pub(crate) fn given_up(&mut self) {
        const READS: [&str; 3] = ["SELECT", "VALUES", "EXPLAIN"];
        let Some(running) = self.running.take_if(|_| !DB::ABORTS) else { return };
        let sql = running.sql.as_str();
        let word = first_word(sql);
        let reads = is_one(sql) && READS.iter().any(|reads| word.eq_ignore_ascii_case(reads));
        if !running.runs || reads {
            // It may have failed, and taken the transaction with it.
            self.is_unsure = true;
            self.running = Some(running);
            return self.finished();
        }
        self.notes.ran(sql, false);
        self.calls.ended(sql);
        self.trail.push(sql, running.start, Instant::now(), Some(None));
        let failure = Failure::of_message("its future was dropped before its end was known");
        self.aborted_by.get_or_insert(failure.with_statement(Some(sql.to_owned())));
    }

    /// A savepoint is to be set, released or rolled back.
    pub(crate) fn enter_flux(&mut self) {
        let message =
            "a savepoint failed or was given up while it was being set, released or rolled back";
        self.in_flux = Some(Failure::of_message(message));
    }

    /// It has been.
    pub(crate) fn leave_flux(&mut self) {
        self.in_flux = None;
    }

    /// Why no savepoint may be touched any more.
    pub(crate) fn flux(&self) -> Option<&Failure> {
        self.in_flux.as_ref()
    }

    /// Whether a statement was started whose end nobody has waited for.
    pub(crate) fn has_abandoned(&self) -> bool {
        self.running.is_some()
    }

    /// A savepoint was rolled back.
    pub(crate) fn recovered(&mut self) {
        self.recovered_from = self.aborted_by.take();
    }

    /// The failure that the closure kept to itself, if there is one.
    pub(crate) fn aborted_by(&self) -> Option<&Failure> {
        self.aborted_by.as_ref()
    }

    /// The trail so far, with what is still running at its end.
    pub(crate) fn take_trail(&mut self) -> Trail {
        let mut trail = std::mem::take(&mut self.trail);
        if let Some(running @ Running { sql, start, .. }) = &self.running {
            self.note_session(running, false);
            trail.push(sql.as_str(), *start, Instant::now(), Some(None));
        }
        trail
    }

    /// How the transaction stands, `depth` savepoints and all.
    pub(crate) fn standing(&self, depth: usize) -> Standing {
        match (&self.lost, &self.aborted_by) {
            // Whatever came after: what ran before may be committed.
            _ if self.left => Standing::Ended,
            (Some(failure), _) => Standing::Lost(failure.clone()),
            (None, aborted_by) if self.running.is_some() || self.in_flux.is_some() => {
                Standing::InFlight(aborted_by.clone())
            }
            (None, Some(failure)) => Standing::Aborted(failure.clone()),
            (None, None) => match depth {
                0 => Standing::Ended,
                1 => Standing::Open(self.recovered_from.clone()),
                _ => Standing::SavepointOpen,
            },
        }
    }

    fn note_session(&self, running: &Running, is_ok: bool) {
        if running.runs {
            self.notes.ran(running.sql.as_str(), is_ok);
        }
    }

    /// The first failure tells; the server repeats itself after it (`25P02`).
    pub(crate) fn note(&mut self, failure: Failure) {
        if failure.is_lost() {
            self.lost.get_or_insert(failure);
        } else if failure.code().is_some() {
            self.aborted_by.get_or_insert(failure);
        } else {
            // SQLx refused; whether the server saw anything of it, the server knows.
            self.is_unsure = true;
        }
    }
}

/// The first word behind comments.
fn first_word(sql: &str) -> &str {
    let mut rest = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
    while let Some(end) = comment_end(rest) {
        rest = rest[end..].trim_start();
    }
    rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default()
}

/// Where the comment ends that `sql` begins with.
fn comment_end(sql: &str) -> Option<usize> {
    let (end, length) = match sql.get(..2)? {
        "--" => (sql.find('\n'), 1),
        "/*" => (sql.find("*/"), 2),
        _ => return None,
    };
    Some(end.map_or(sql.len(), |end| end + length))
}

/// Whether nothing stands behind a semicolon.
fn is_one(sql: &str) -> bool {
    sql.split_once(';').is_none_or(|(_, rest)| rest.trim().is_empty())
}

impl<DB> fmt::Debug for Observed<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed")
            .field("lost", &self.lost)
            .field("aborted_by", &self.aborted_by)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_no_word() {
        for (sql, word) in [
            ("SELECT 1", "SELECT"),
            ("  rollback to a", "rollback"),
            ("-- rollback it\nUPDATE t SET n = 1", "UPDATE"),
            ("/* SELECT */ -- x\n /* y */ DELETE FROM t", "DELETE"),
            ("--", ""),
            ("/* open", ""),
            ("(SELECT 1)", ""),
        ] {
            assert_eq!(first_word(sql), word, "{sql}");
        }
        assert!(is_one("SELECT 1; ") && !is_one("SELECT 1; INSERT INTO t VALUES (1)"));
    }
}
