//! What is known of one blocking connection: what went wrong, as its instrumentation heard it, and how its transaction
//! stands, as libpq tells Diesel.

use crate::{binds::without_binds, failure::failure_of, observer::Listener, told::Told};
use diesel::{
    PgConnection,
    connection::{SimpleConnection, TransactionManagerStatus},
    result::{DatabaseErrorKind, Error as DieselError},
};
#[cfg(feature = "deadpool-diesel")]
use std::sync::OnceLock;
use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
#[cfg(feature = "deadpool-diesel")]
use txsafe::driver::Tracked;
use txsafe::{
    Failure, SqlState, Trail,
    driver::{
        Connection, Gaps, KnownLimits, Limits, Notes, Standing, leaves_transaction,
        may_change_limits,
    },
};

/// What is known of one connection.
#[derive(Default)]
pub(crate) struct Link {
    state: Mutex<State>,
    /// Its entry on the list of its pool, if the pool reports what takes its connections and not what comes back.
    #[cfg(feature = "deadpool-diesel")]
    tracked: OnceLock<Tracked>,
}

#[derive(Default)]
struct State {
    lost: Option<Failure>,
    /// The attempt that runs.
    told: Option<Told>,
    /// What finishes from now on ends the transaction.
    ending: bool,
    /// The closure ended the transaction by a statement.
    left: bool,
    /// A message that would have ended it failed, and what of it ran isn't known.
    may_have_left: bool,
    /// A COPY was started whose rows may not have been read to their end.
    copies: bool,
    /// Diesel calls the connection closed. It does so for every error of class 08, also for one that a foreign server or
    /// `RAISE` made; what libpq says next tells.
    closed: Option<Failure>,
    /// What the session's own limits are.
    limits: KnownLimits,
}

impl Link {
    /// The session's own limits, where they were read and nothing that was told may have changed them.
    pub(crate) fn known_limits(&self) -> Option<Limits> {
        self.state().limits.get()
    }

    /// They were read.
    pub(crate) fn keep_limits(&self, limits: Limits) {
        self.state().limits.keep(limits);
    }

    /// What is told from now on is BEGIN.
    pub(crate) fn beginning(&self) {
        self.state().ending = true;
    }

    /// An attempt begins.
    pub(crate) fn begin(&self, bind_values: bool, notes: Notes) {
        let mut state = self.state();
        *state = State {
            lost: state.lost.take(),
            limits: state.limits,
            told: Some(Told::new(bind_values, notes, Instant::now())),
            ..State::default()
        };
    }

    /// What is answered from now on ends the transaction.
    pub(crate) fn ending(&self) {
        self.state().ending = true;
    }

    /// Forgets the attempt.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        (state.told, state.ending) = (None, false);
    }

    /// How the transaction stands, given the status that Diesel has from libpq.
    pub(crate) fn standing(&self, status: &TransactionManagerStatus) -> Standing {
        let state = self.state();
        // Whatever came after: what ran before may be committed.
        if state.left {
            return Standing::Ended;
        }
        if let Some(failure) = &state.lost {
            return Standing::Lost(failure.clone());
        }
        let TransactionManagerStatus::Valid(status) = status else {
            let message = "earlier work left the connection's transaction state unknown";
            let closed = state.closed.clone();
            return Standing::Lost(closed.unwrap_or_else(|| Failure::lost(None, message)));
        };
        let Some(open) = &status.in_transaction else {
            return state.closed.clone().map_or(Standing::Ended, Standing::Lost);
        };
        if let Some(failure) = &state.closed {
            return Standing::Aborted(failure.clone().survived());
        }
        let Some(told) = &state.told else { return Standing::Ended };
        // Diesel doesn't look at the status when a statement fails in being prepared; so both are asked.
        if let Some(failure) = &told.aborted_by {
            return Standing::Aborted(failure.clone());
        }
        if open.requires_rollback_maybe_up_to_top_level {
            let message = "the transaction is aborted";
            return Standing::Aborted(Failure::refused(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                message,
            ));
        }
        if open.transaction_depth.get() > 1 {
            return Standing::SavepointOpen;
        }
        Standing::Open(told.recovered_from.clone())
    }

    /// Whether the transaction may not be the one that was begun, and nothing that was seen tells.
    pub(crate) fn is_unsure(&self) -> bool {
        self.state().may_have_left
    }

    /// Asks libpq how the transaction stands, where Diesel may not have, at the cost of a round trip.
    pub(crate) fn refresh(&self, conn: &mut PgConnection) {
        self.read_copy_to_its_end(conn);
        if self.state().closed.is_some() {
            // Diesel doesn't look when a statement fails in being prepared.
            let _ = conn.batch_execute("");
        }
    }

    /// Brings the connection in step after a COPY, at the cost of a round trip: Diesel drops what it hasn't read of one, and
    /// the next prepared statement would wait for an answer in vain. libpq reads the rest before it sends a simple query.
    pub(crate) fn read_copy_to_its_end(&self, conn: &mut PgConnection) {
        if std::mem::take(&mut self.state().copies) {
            // If that fails, the next statement does, and the status tells.
            let _ = conn.batch_execute("");
        }
    }

    /// What is known to have gone wrong.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let state = self.state();
        let lost = state.lost.clone().or_else(|| state.closed.clone());
        lost.or_else(|| state.told.as_ref()?.aborted_by.clone())
    }

    /// The trail of the attempt so far.
    pub(crate) fn take_trail(&self) -> Trail {
        let mut state = self.state();
        state.told.as_mut().map(|told| std::mem::take(&mut told.trail)).unwrap_or_default()
    }

    /// None of an attempt that ends: what ends it runs outside of its scope, and its end isn't told.
    fn gaps(&self) -> Gaps {
        let state = self.state();
        state
            .told
            .as_ref()
            .filter(|_| !state.ending)
            .map(|told| told.notes().gaps.clone())
            .unwrap_or_default()
    }

    /// It is on the list of its pool until it is closed.
    #[cfg(feature = "deadpool-diesel")]
    pub(crate) fn set_tracked(&self, tracked: Tracked) {
        // Set once, where the connection is made.
        let _ = self.tracked.set(tracked);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that could panic leaves the state half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Link {
    /// A statement started; `query` shows it with its bind values.
    fn started(&self, query: &dyn fmt::Display) {
        // Not while the state is locked: what is found in the gap before may ask this link.
        self.gaps().statement_starts();
        if let Some(told) = &mut self.state().told {
            told.started_next(query);
        }
    }

    /// A statement came to its end.
    fn finished(&self, query: &dyn fmt::Display, error: Option<&DieselError>) {
        let State { lost, told, ending, left, may_have_left, copies, closed, limits } =
            &mut *self.state();
        if *ending {
            return;
        }
        let Some(told) = told else {
            // Between transactions: a hook of the pool, or whoever uses the connection otherwise.
            if may_change_limits(without_binds(&query.to_string())) {
                limits.forget();
            }
            return;
        };
        // In the midst of a statement Diesel may look types up, by another one: what goes by until the outer one's end is the
        // database's as well.
        told.notes().gaps.statement_ends();
        // Diesel tells the end of rows that failed half-way twice, and the second time as a success.
        let Some(started) = told.take_next(query) else { return };
        let sql = started.sql.unwrap_or_else(|| without_binds(&query.to_string()).to_owned());
        if sql.is_empty() {
            return;
        }
        if may_change_limits(&sql) {
            limits.forget();
        }
        let leaves = leaves_transaction(&sql);
        *left |= leaves && error.is_none();
        *may_have_left |= leaves && error.is_some();
        *copies |= error.is_none() && sql.starts_with("COPY");
        let end = Instant::now();
        let took = Some(end.saturating_duration_since(started.at));
        let failure = error.map(|error| failure_of(error).with_took(took));
        let code = failure.as_ref().map(Failure::sqlstate);
        // The connection has answered since.
        if !failure.as_ref().is_some_and(Failure::is_lost)
            && let Some(before) = closed.take()
        {
            told.aborted_by.get_or_insert(before.survived());
        }
        match failure {
            Some(failure) if failure.is_lost() => {
                let place = if is_closed(error) { closed } else { lost };
                place.get_or_insert(failure.with_statement(Some(sql.clone())));
            }
            Some(failure) if is_the_servers(error) => told.finished_unseen(&sql, Some(failure)),
            // Diesel's own refusal aborts nothing.
            Some(_) => {}
            None => {
                told.finished_unseen(&sql, None);
                // What succeeds shows that nothing is aborted, by whatever words a savepoint was rolled back.
                told.aborted_by = None;
            }
        }
        told.ran(sql, started.with_binds, (started.at, end), code);
    }
}

impl Connection for Link {
    /// Nobody polls it.
    fn poll_begins(&self, _waited: Option<Duration>) -> bool {
        false
    }

    fn poll_waits(&self) {}

    fn statements(&self) -> (usize, Option<String>) {
        self.state().told.as_ref().map(Told::statements).unwrap_or_default()
    }

    fn running(&self) -> Option<(Option<String>, Duration)> {
        let state = self.state();
        let started = state.told.as_ref()?.started.front()?;
        Some((started.sql.clone(), started.at.elapsed()))
    }

    fn idle(&self) -> Option<Duration> {
        let state = self.state();
        let told = state.told.as_ref().filter(|told| told.started.is_empty())?;
        state.lost.is_none().then(|| told.ended.elapsed())
    }
}

/// Whether Diesel calls the connection closed.
fn is_closed(error: Option<&DieselError>) -> bool {
    matches!(error, Some(DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection, _)))
}

/// Whether an error came from the server, or at least on the way to it.
fn is_the_servers(error: Option<&DieselError>) -> bool {
    matches!(error, Some(DieselError::DatabaseError(..)))
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("lost", &self.state().lost).finish_non_exhaustive()
    }
}
