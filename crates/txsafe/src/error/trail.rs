//! The statements of one attempt, with their durations and the gaps between them.

use crate::{
    clock::times::{Ledger, Times},
    dialect::{
        sqlstate::SqlState,
        words::{cut, shortened},
    },
};
use std::{
    collections::VecDeque,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

/// Statements kept from the start of an attempt, and from its end. What lies between is counted.
const FIRST: usize = 16;
const LAST: usize = 48;

/// Longer SQL is cut here, in bytes.
const SQL_BYTES: usize = 1_024;

/// The statements of one attempt.
///
/// At most 64 are kept: the first 16 and the last 48. SQL is kept without bind values, unless they were asked for, and
/// cut at 1 KiB.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
/// use txsafe::Trail;
///
/// let begin = Instant::now();
/// let at = |ms| begin + Duration::from_millis(ms);
/// let mut trail = Trail::new(begin);
/// trail.push("SELECT 1", at(1), at(3), None);
/// trail.push("SELECT 2", at(60), at(62), None);
///
/// let gaps: Vec<_> = trail.statements().map(|s| s.gap.as_millis()).collect();
/// assert_eq!(gaps, [1, 57], "57 ms went by without the database");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Trail {
    begin: Option<Instant>,
    last_end: Option<Instant>,
    first: Vec<Statement>,
    last: VecDeque<Statement>,
    omitted: usize,
    /// How many statements are compared in rerun mode.
    compared: usize,
    /// Hashes of what is compared and isn't kept.
    unkept: Unkept,
    ledger: Option<Arc<Ledger>>,
    /// What was external before the last statement.
    external: Duration,
    ran_unseen: bool,
}

/// One statement of a [`Trail`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement {
    /// The SQL.
    pub sql: String,
    /// From the begin of the attempt to the statement.
    pub after: Duration,
    /// Time between the end of the statement before and this one: not spent on the database.
    pub gap: Duration,
    /// How much of the gap was a wait for something that isn't the database, if the guard accounts for it.
    pub external: Duration,
    /// From the request to the server's answer.
    pub took: Duration,
    /// Whether it failed, and with which code where the server gave one.
    pub failed: Option<Option<SqlState>>,
    compared: Option<Compared>,
}

/// Hashes of the SQL that rerun mode compares and the trail doesn't keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unkept {
    /// The ends that were cut.
    pub(super) cut: u64,
    /// The statements that were left out. It depends on which were, and so on those that aren't compared, too.
    pub(super) omitted: u64,
}

/// What rerun mode compares of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Compared {
    /// The number of the statement among those that are compared, from 1.
    number: usize,
    /// So many bytes of what is kept are SQL. Bind values may follow.
    bytes: usize,
}

impl Trail {
    /// An empty trail of an attempt that began at `begin`.
    #[must_use]
    pub fn new(begin: Instant) -> Self {
        Self { begin: Some(begin), last_end: Some(begin), ..Self::default() }
    }

    /// The same, of an attempt whose times are accounted.
    #[must_use]
    pub fn with_ledger(mut self, ledger: Option<Arc<Ledger>>) -> Self {
        self.ledger = ledger;
        self
    }

    /// Where the time of the attempt went while its closure ran, if the guard accounts for it.
    #[must_use]
    pub fn times(&self) -> Option<Times> {
        self.ledger.as_ref().map(|ledger| ledger.times())
    }

    /// Adds a statement that ran from `start` to `end`. Statements sent together overlap, and have no gap.
    pub fn push(
        &mut self,
        sql: impl Into<String>,
        start: Instant,
        end: Instant,
        failed: Option<Option<SqlState>>,
    ) {
        let sql = sql.into();
        let bytes = sql.len();
        self.push_shown(sql, Some(bytes), (start, end), failed);
    }

    /// For adapters: adds a statement as `shown`, with its bind values behind its SQL. Rerun mode compares the first `sql` bytes, or all
    /// of it if it is shorter. `None`: the driver asked by itself, and rerun mode skips it.
    pub fn push_shown(
        &mut self,
        shown: String,
        sql: Option<usize>,
        (start, end): (Instant, Instant),
        failed: Option<Option<SqlState>>,
    ) {
        let begin = *self.begin.get_or_insert(start);
        let external = self.ledger.as_ref().map(|ledger| ledger.times().external);
        let external = external.unwrap_or_default();
        let compared = sql.map(|bytes| self.compare(shown.get(..bytes).unwrap_or(&shown)));
        let statement = Statement {
            sql: shortened(shown, SQL_BYTES),
            after: start.saturating_duration_since(begin),
            gap: self.last_end.map_or(Duration::ZERO, |last| start.saturating_duration_since(last)),
            external: external.saturating_sub(self.external),
            took: end.saturating_duration_since(start),
            failed,
            compared,
        };
        self.last_end = self.last_end.max(Some(end));
        self.external = external;
        if self.first.len() < FIRST {
            self.first.push(statement);
            return;
        }
        if self.last.len() == LAST {
            let omitted = self.last.pop_front();
            if let Some((_, sql)) = omitted.as_ref().and_then(Statement::compared_sql) {
                self.unkept.omitted = hash(self.unkept.omitted, sql);
            }
            self.omitted += 1;
        }
        self.last.push_back(statement);
    }

    /// Notes that this SQL is compared.
    fn compare(&mut self, sql: &str) -> Compared {
        self.compared += 1;
        let bytes = cut(sql, SQL_BYTES).len();
        if bytes < sql.len() {
            self.unkept.cut = hash(self.unkept.cut, &sql[bytes..]);
        }
        Compared { number: self.compared, bytes }
    }

    /// The SQL that rerun mode compares, as far as it is kept, each with its number from 1.
    pub(super) fn compared(&self) -> impl Iterator<Item = (usize, &str)> {
        self.statements().filter_map(Statement::compared_sql)
    }

    /// How many statements are compared, and what isn't kept of them.
    pub(super) fn extent(&self) -> (usize, Unkept) {
        (self.compared, self.unkept)
    }

    /// For adapters: a question of txsafe's own was answered at `end`. It is no statement, and the gap before the next one begins
    /// then.
    pub fn answered(&mut self, end: Instant) {
        self.last_end = self.last_end.max(Some(end));
    }

    /// For adapters: the connection is lent, and what runs there isn't seen.
    pub fn runs_unseen(&mut self) {
        self.ran_unseen = true;
    }

    /// Whether more than these statements may have run: the connection was lent, and txsafe doesn't see what runs there.
    #[must_use]
    pub fn ran_unseen(&self) -> bool {
        self.ran_unseen
    }

    /// The last statement that begins with `sql` and didn't fail has failed after all: its error came behind its end.
    pub fn failed(&mut self, sql: &str, code: SqlState) {
        let mut kept = self.first.iter_mut().chain(&mut self.last).rev();
        let shown = shortened(sql.to_owned(), SQL_BYTES);
        let is_it = |it: &&mut Statement| {
            it.failed.is_none() && (it.sql.starts_with(sql) || it.sql == shown)
        };
        if let Some(statement) = kept.find(is_it) {
            statement.failed = Some(Some(code));
        }
    }

    /// The statements that were kept, in the order in which they were answered.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> + Clone {
        self.first.iter().chain(&self.last)
    }

    /// The same, each with the number of statements before it.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &Statement)> {
        let last = self.last.iter().enumerate();
        let last = last.map(|(i, statement)| (FIRST + self.omitted + i, statement));
        self.first.iter().enumerate().chain(last)
    }

    /// How many statements were left out between the first ones and the last ones.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// How long the connection had been idle when it was found closed, as far as these statements tell: before the first of
    /// those at the end to which the server gave no answer, or no other than that it had closed it for idling; or up to `now`.
    pub(crate) fn idle_at(&self, now: Instant) -> Duration {
        let kept = self.first.iter().chain(&self.last).rev();
        let unanswered = kept.take_while(|statement| {
            let idled = Some(SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT);
            statement.failed.is_some_and(|code| code.is_none() || code == idled)
        });
        let since = self.last_end.map(|end| now.saturating_duration_since(end));
        unanswered.map(|statement| statement.gap).chain(since).max().unwrap_or_default()
    }

    /// Whether no statement ran.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, statement) in self.statements().enumerate() {
            if i == FIRST && self.omitted > 0 {
                writeln!(f, "  … {} statements left out …", self.omitted)?;
            }
            writeln!(f, "{statement}")?;
        }
        if self.ran_unseen {
            writeln!(f, "  what ran on the lent connection isn't listed: txsafe doesn't see it")?;
        }
        Ok(())
    }
}

impl Statement {
    fn compared_sql(&self) -> Option<(usize, &str)> {
        let Compared { number, bytes } = self.compared?;
        Some((number, &self.sql[..bytes]))
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |t: Duration| t.as_secs_f64() * 1e3;
        write!(f, "  {:>8.1} ms", ms(self.after))?;
        write!(f, "  gap {:>7.1}", ms(self.gap))?;
        if !self.external.is_zero() {
            write!(f, " ({:.1} external)", ms(self.external))?;
        }
        write!(f, "  took {:>7.1}", ms(self.took))?;
        write!(f, "  {}", self.sql)?;
        match self.failed {
            None => Ok(()),
            Some(None) => f.write_str("  FAILED"),
            Some(Some(code)) => write!(f, "  FAILED {code}"),
        }
    }
}

fn hash(before: u64, sql: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (before, sql).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_omission_is_told() {
        let begin = Instant::now();
        let mut trail = Trail::new(begin);
        for n in 0..1_000 {
            trail.push(format!("SELECT {n}"), begin, begin, None);
        }
        let kept: Vec<_> = trail.statements().map(|s| s.sql.as_str()).collect();
        assert_eq!(kept.len(), 64);
        assert_eq!((kept[15], kept[16], kept[63]), ("SELECT 15", "SELECT 952", "SELECT 999"));
        assert!(trail.to_string().contains("936 statements left out"));
    }

    #[test]
    fn a_closed_connection_was_idle_before_the_first_statement_that_found_it_closed() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut trail = Trail::new(begin);
        assert_eq!(trail.idle_at(at(70)), Duration::from_millis(70));
        trail.push("SELECT 1", at(1), at(5), None);
        assert_eq!(trail.idle_at(at(70)), Duration::from_millis(65));
        let idled = Some(SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT);
        trail.push("SELECT 2", at(65), at(66), Some(idled));
        trail.push("SELECT 3", at(66), at(67), Some(None));
        assert_eq!(trail.idle_at(at(67)), Duration::from_millis(60));
        trail.push("SELECT 4", at(67), at(68), Some(Some(SqlState::DEADLOCK_DETECTED)));
        assert_eq!(trail.idle_at(at(69)), Duration::from_millis(1));
    }

    #[test]
    fn long_sql_is_cut_on_a_character_boundary() {
        let begin = Instant::now();
        let mut trail = Trail::new(begin);
        trail.push("é".repeat(2_000), begin, begin, Some(None));
        let statement = trail.statements().next().unwrap();
        assert_eq!(statement.sql.chars().count(), 513);
    }
}
