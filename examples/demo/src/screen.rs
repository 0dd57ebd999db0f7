//! Everything that is printed.

use std::{
    fmt::Display,
    io::{IsTerminal as _, Write as _, stderr, stdout},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    modes::Kind,
    numbers::{counted, thousands},
    tally::Counts,
};

/// Where things are printed: results on stdout, all else on stderr.
#[derive(Debug)]
pub(crate) struct Screen {
    json: bool,
}

impl Screen {
    /// With `json`, stdout is left to it.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// What goes on.
    pub(crate) fn note(&self, text: &str) {
        to_stderr(text);
    }

    /// A result.
    pub(crate) fn say(&self, text: &str) {
        if self.json { to_stderr(text) } else { to_stdout(text) }
    }

    /// A result that nobody must overlook.
    pub(crate) fn alarm(&self, text: &str) {
        to_stderr(&format!("!!! {text}"));
    }

    /// Why there is no result.
    pub(crate) fn error(&self, error: &impl Display) {
        to_stderr(&format!("error: {error}"));
    }

    /// The result for machines.
    pub(crate) fn json(&self, object: &str) {
        to_stdout(object);
    }

    /// Shows how a mode gets on: a bar on a terminal, lines elsewhere.
    pub(crate) fn progress(&self, kind: Kind, duration: Duration) -> Progress {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(milliseconds(duration));
            let style = ProgressStyle::with_template("{prefix:>7} {bar:24.cyan/blue} {msg}");
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar.set_prefix(kind.as_str());
            bar
        });
        Progress { kind, bar }
    }
}

/// How a mode gets on.
#[derive(Debug)]
pub(crate) struct Progress {
    kind: Kind,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// How often to call [`show`](Self::show).
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_millis(if self.bar.is_some() { 100 } else { 2_000 })
    }

    pub(crate) fn show(&mut self, elapsed: Duration, counts: Counts) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(milliseconds(elapsed).min(bar.length().unwrap_or(0)));
                bar.set_message(line(elapsed, counts));
            }
            None => to_stderr(&format!("{:>7} {}", self.kind.as_str(), line(elapsed, counts))),
        }
    }

    pub(crate) fn finish(mut self, elapsed: Duration, counts: Counts) {
        self.show(elapsed, counts);
        if let Some(bar) = self.bar {
            bar.abandon();
        }
    }
}

fn line(elapsed: Duration, counts: Counts) -> String {
    let Counts { committed, failed, deadlocks, lock_timeouts, retries } = counts;
    format!(
        "{:4.1} s: {} committed, {} failed, {}, {}, {}",
        elapsed.as_secs_f64(),
        thousands(committed),
        thousands(failed),
        counted(deadlocks, "deadlock", "deadlocks"),
        counted(lock_timeouts, "lock timeout", "lock timeouts"),
        counted(retries, "retry", "retries"),
    )
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Unlike `println!`, this doesn't panic when the reader has gone away, as `head` does.
fn to_stdout(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}

fn to_stderr(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}
