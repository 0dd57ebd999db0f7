//! What is told of one finding.

use super::{code::Code, policy::Severity};
use crate::clock::times::Times;
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
    /// Where it was seen, if that is known.
    pub site: Option<Site>,
    /// What was waited for is another connection than its own, or an answer on one; known with the feature `origins`.
    pub other_connection: bool,
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
    /// What was seen lies before this line: the `.await` at which a poll ended that blocked or computed, or the statement
    /// behind which nobody waits on a blocking connection.
    pub is_behind: bool,
}

impl From<&Location<'_>> for Site {
    fn from(at: &Location<'_>) -> Self {
        Self {
            file: at.file().to_owned(),
            line: at.line(),
            function: None,
            called: None,
            is_behind: false,
        }
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
            writeln!(f, "  {} {site}", if site.is_behind { "before" } else { "at" })?;
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
        let help = match code {
            Code::ExternalWait if self.other_connection => {
                "it waits for another connection: use the transaction's own, by handing `&mut tx` down, or read before it \
                 begins"
            }
            code => code.help(),
        };
        write!(f, "  help: {help} (docs/findings/{code}.md)")
    }
}
