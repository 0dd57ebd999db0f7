//! What a connection's instrumentation reports of the attempt that runs on it.

use crate::binds::{nth_bind, without_binds};
use std::{collections::VecDeque, fmt::Display, time::Instant};
use txsafe::{Failure, SqlState, Trail, driver::Notes};

/// Statements that were started and not finished are remembered up to this number.
const MOST_STARTED: usize = 64;

/// How a statement begins by which Diesel looks up a custom type, once for each blocking connection. On diesel-async
/// instrumentation doesn't tell of it.
const LOOKS_UP_TYPE: &str = "SELECT \"pg_type\".\"oid\", \"pg_type\".\"typarray\" FROM";

/// What the instrumentation reports of one attempt.
pub(crate) struct Told {
    /// The failure that aborted the transaction.
    pub(crate) aborted_by: Option<Failure>,
    /// A failure that a savepoint was rolled back for, with nothing done since.
    pub(crate) recovered_from: Option<Failure>,
    pub(crate) trail: Trail,
    /// Statements whose callers haven't seen their end, in order; some never will.
    pub(crate) started: VecDeque<Started>,
    /// When the last one came to its end, or the attempt began.
    pub(crate) ended: Instant,
    bind_values: bool,
    notes: Notes,
}

/// A statement as its caller started it.
pub(crate) struct Started {
    pub(crate) at: Instant,
    /// As it is shown, where that is kept from its start to its end.
    pub(crate) sql: Option<String>,
    /// With bind values, if the trail or what it locks or leaves asks for them.
    pub(crate) with_binds: Option<String>,
}

impl Told {
    /// Of an attempt that starts now.
    pub(crate) fn new(bind_values: bool, notes: Notes, now: Instant) -> Self {
        Self {
            aborted_by: None,
            recovered_from: None,
            trail: Trail::new(now).with_ledger(notes.ledger.clone()),
            started: VecDeque::new(),
            ended: now,
            bind_values,
            notes,
        }
    }

    /// BEGIN is behind us: what is told begins here.
    #[cfg(feature = "async")]
    pub(crate) fn begun(&mut self) {
        self.started.clear();
        self.trail = Trail::new(Instant::now()).with_ledger(self.notes.ledger.clone());
    }

    /// A caller started a statement; `query` shows it with its bind values.
    pub(crate) fn started(&mut self, query: &dyn Display) {
        if self.started.len() == MOST_STARTED {
            self.started.pop_front();
        }
        let with_binds = if self.bind_values {
            Some(query.to_string())
        } else {
            self.notes.worth_showing(query)
        };
        if let Some(text) = &with_binds {
            let sql = without_binds(text);
            self.notes.locks.will_run(sql, |n| nth_bind(&text[sql.len()..], n));
        }
        self.started.push_back(Started { at: Instant::now(), sql: None, with_binds });
    }

    /// The same on a connection whose statements come one after another: one whose end Diesel didn't tell, as of binds that
    /// can't be written, is over. But one for which Diesel looks up a type goes on behind that.
    #[cfg(feature = "blocking")]
    pub(crate) fn started_next(&mut self, query: &dyn Display) {
        // Rendered once, for whoever asks what runs, and for the trail.
        let sql = without_binds(&query.to_string()).to_owned();
        if !looks_up_type(&sql) {
            self.started.clear();
        }
        self.started(query);
        if let Some(last) = self.started.back_mut() {
            last.sql = Some(sql);
        }
    }

    /// What was started there and has ended now.
    #[cfg(feature = "blocking")]
    pub(crate) fn take_next(&mut self, query: &dyn Display) -> Option<Started> {
        // A lookup is the last of them, whatever the statement is that it belongs to.
        if self.started.len() > 1 && looks_up_type(&query.to_string()) {
            return self.started.pop_back();
        }
        self.started.pop_front()
    }

    /// What was started and has ended now. Those before it whose callers have gone stay.
    #[cfg(feature = "async")]
    pub(crate) fn take_started(&mut self, sql: &str) -> Option<Started> {
        let is_it = |started: &Started| {
            started.with_binds.as_deref().is_none_or(|text| without_binds(text) == sql)
        };
        self.started.remove(self.started.iter().position(is_it)?)
    }

    /// The closure has ended, and the callers of what is still started are gone: it may have run, or not.
    #[cfg(feature = "async")]
    pub(crate) fn abandoned(&self) {
        for sql in self.started.iter().filter_map(|started| started.with_binds.as_deref()) {
            self.notes.ran(sql, false);
        }
    }

    /// Whether a statement that ends the transaction was started, and nobody has seen its end.
    #[cfg(feature = "async")]
    pub(crate) fn may_have_left(&self) -> bool {
        let started = self.started.iter().filter_map(|started| started.with_binds.as_deref());
        started.map(without_binds).any(txsafe::driver::leaves_transaction)
    }

    /// A statement ran from `start` to `end`: `sql`, and the same with its bind values, where it was made.
    pub(crate) fn ran(
        &mut self,
        sql: String,
        with_binds: Option<String>,
        (start, end): (Instant, Instant),
        code: Option<Option<SqlState>>,
    ) {
        self.ended = self.ended.max(end);
        self.notes.ran(&sql, code.is_none());
        // Bind values aren't compared, and neither is what Diesel looks up once for each connection.
        let compared = (!looks_up_type(&sql)).then_some(sql.len());
        let shown = with_binds.filter(|_| self.bind_values).unwrap_or(sql);
        self.trail.push_shown(shown, compared, (start, end), code);
    }

    /// Where it notes things, besides.
    #[cfg(feature = "blocking")]
    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// How many statements have ended, and the last one.
    pub(crate) fn statements(&self) -> (usize, Option<String>) {
        let kept = self.trail.statements();
        let last = kept.clone().last().map(|statement| statement.sql.clone());
        (kept.count() + self.trail.omitted(), last)
    }

    /// Without the wire, the transaction's state is what the end of a statement lets one conclude.
    pub(crate) fn finished_unseen(&mut self, sql: &str, failure: Option<Failure>) {
        if let Some(failure) = failure {
            let failure = failure.with_statement(Some(sql.to_owned()));
            self.aborted_by.get_or_insert(failure);
        } else if sql.starts_with("ROLLBACK TO") {
            self.recovered_from = self.aborted_by.take();
        } else if !sql.starts_with("SAVEPOINT") && !sql.starts_with("RELEASE") {
            self.recovered_from = None;
        }
    }
}

/// Whether Diesel looks up a type by this statement.
fn looks_up_type(sql: &str) -> bool {
    sql.starts_with(LOOKS_UP_TYPE)
}
