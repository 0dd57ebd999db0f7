//! What is told of one finding.

use super::{code::Code, policy::Severity};
use crate::hold::times::Times;
use std::{fmt, panic::Location, sync::Arc, time::Duration};

/// Something that a transaction should not do: what, where, and what to do instead.
///
/// Its display is several lines, for a log or a terminal.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about.
    pub code: Code,
    /// What follows.
    pub severity: Severity,
    /// What was seen, in one sentence.
    pub what: String,
    /// The name of the transaction.
    pub transaction: Arc<str>,
    /// Where the transaction was called.
    pub place: &'static Location<'static>,
    /// Where it was seen, if that is known. Of a poll that blocked or computed it is the `.await` at which it ended.
    pub site: Option<Site>,
    /// How long the attempt had been running.
    pub elapsed: Duration,
    /// How long it waited, or was held up.
    pub waited: Option<Duration>,
    /// Where the attempt's time had gone, if that is accounted.
    pub times: Option<Times>,
    /// How many statements had ended.
    pub statements: usize,
    /// The last of them.
    pub last_sql: Option<String>,
    /// The locks that it held meanwhile, as far as they are known, with where they were taken.
    pub locks: Vec<String>,
    /// How often this has been found at this site.
    pub occurrences: u64,
    /// The reason and the date of a rule that allowed it, and has expired.
    pub expired: Option<String>,
}

/// A place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Site {
    /// The file.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The function, if it is known.
    pub function: Option<String>,
    /// The crate that it called, if it is known.
    pub called: Option<String>,
}

impl From<&Location<'_>> for Site {
    fn from(at: &Location<'_>) -> Self {
        Self { file: at.file().to_owned(), line: at.line(), function: None, called: None }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if let Some(function) = &self.function {
            write!(f, " in {function}")?;
        }
        match &self.called {
            Some(called) => write!(f, ", by {called}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, what, transaction, place, elapsed, statements, .. } = self;
        writeln!(f, "{code} {}: {what}", code.title())?;
        if let Some(site) = &self.site {
            let at = if code.is_of_poll() { "before the .await at" } else { "at" };
            writeln!(f, "  {at} {site}")?;
        }
        write!(f, "  in transaction \"{transaction}\" ({place}), {elapsed:.1?} after its begin")?;
        match (&self.last_sql, statements) {
            (Some(sql), 1) => writeln!(f, " and behind `{sql}`")?,
            (Some(sql), n) => writeln!(f, " and behind {n} statements, the last `{sql}`")?,
            (None, _) => writeln!(f)?,
        }
        for lock in &self.locks {
            writeln!(f, "  holds {lock}")?;
        }
        if let Some(times) = &self.times {
            writeln!(f, "  time: {times}")?;
        }
        if let Some(expired) = &self.expired {
            writeln!(f, "  it was allowed: {expired}")?;
        }
        if self.occurrences > 1 {
            writeln!(f, "  found {} times", self.occurrences)?;
        }
        write!(f, "  help: {} (docs/findings/{code}.md)", code.help())
    }
}
