//! What is said of the runs: a table, some sentences, and JSON.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use txsafe_diesel::LockOrder as _;

use crate::{
    books::Books,
    guard::{self, Sale},
    locks::ShopOrder,
    modes::Kind,
    numbers::{counted, milliseconds, thousands},
    tally::{Counts, Tally},
};

/// One mode, run and checked.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) kind: Kind,
    pub(crate) tally: Tally,
    pub(crate) books: Books,
}

impl Run {
    /// Whether the mode did what it promises. diesel-async alone promises nothing.
    pub(crate) fn is_as_promised(&self) -> bool {
        let is_exact = self.books.violations().is_empty();
        match self.kind {
            Kind::Bare => true,
            Kind::Txsafe | Kind::Ordered => is_exact && self.broken_promises().is_empty(),
        }
    }

    /// What is wrong although the books may be exact, in words.
    fn broken_promises(&self) -> Vec<String> {
        let Counts { deadlocks, failed, .. } = self.tally.counts;
        match self.kind {
            Kind::Bare | Kind::Txsafe => Vec::new(),
            Kind::Ordered => {
                [(deadlocks, "deadlock", "deadlocks"), (failed, "failure", "failures")]
                    .into_iter()
                    .filter(|&(number, ..)| number > 0)
                    .map(|(number, one, many)| counted(number, one, many))
                    .collect()
            }
        }
    }
}

/// The modes side by side.
pub(crate) fn table(runs: &[Run]) -> String {
    let mut table = Table::new();
    table.set_header([
        "mode",
        "com-\nmitted",
        "failed to\nthe caller",
        "dead-\nlocks",
        "lock\ntimeouts",
        "retries",
        "p50\n(ms)",
        "p99\n(ms)",
        "per\nsecond",
        "lost",
        "dupli-\ncated",
    ]);
    for run in runs {
        let numbers = Numbers::of(run);
        table.add_row([
            numbers.mode.to_owned(),
            thousands(numbers.committed),
            thousands(numbers.failed),
            thousands(numbers.deadlocks),
            thousands(numbers.lock_timeouts),
            thousands(numbers.retries),
            milliseconds(numbers.p50_ms),
            milliseconds(numbers.p99_ms),
            thousands(numbers.per_second.round() as u64),
            thousands(numbers.lost),
            thousands(numbers.duplicated),
        ]);
    }
    in_columns(table)
}

/// The table as it is printed: numbers to the right, and narrow enough for a terminal of 80 columns.
pub(crate) fn in_columns(mut table: Table) -> String {
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 0));
        if i > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// What the numbers of these runs say, in sentences.
pub(crate) fn explain(runs: &[Run], deadlock_timeout: &str) -> String {
    let mut paragraphs: Vec<String> =
        runs.iter().map(|run| told_of(run, runs, deadlock_timeout)).collect();
    if runs.iter().all(|run| run.books.violations().is_empty()) {
        paragraphs.push(
            "The books are exact in all modes: whatever was reported as done is in the ledger once, nothing that was \
             reported as failed is, and money, stock, shipments, addresses and numbers add up."
                .to_owned(),
        );
    }
    paragraphs.iter().map(|paragraph| wrapped(paragraph)).collect::<Vec<_>>().join("\n\n")
}

/// What is wrong with the books, and what else was promised, loudly.
pub(crate) fn violations(runs: &[Run]) -> Vec<String> {
    let of = |run: &Run| {
        let kind = run.kind;
        let wrong = run.books.violations().into_iter();
        let wrong = wrong.map(move |it| format!("THE BOOKS OF {kind} ARE WRONG: {it}"));
        let broken = run.broken_promises().into_iter();
        let broken = broken.map(move |it| format!("{kind} PROMISED NONE, AND THERE WAS: {it}"));
        wrong.chain(broken)
    };
    runs.iter().flat_map(of).collect()
}

/// One object on one line.
pub(crate) fn json(runs: &[Run], sales: &[Sale]) -> String {
    let document = Document {
        runs: runs.iter().map(Numbers::of).collect(),
        guard: sales.iter().map(guard::Numbers::of).collect(),
    };
    // Numbers and words under fixed names: nothing in there can fail.
    serde_json::to_string(&document).unwrap_or_else(|error| unreachable!("{error}"))
}

#[derive(Debug, Serialize)]
struct Document {
    runs: Vec<Numbers>,
    guard: Vec<guard::Numbers>,
}

/// A row of the table.
#[derive(Debug, Serialize)]
struct Numbers {
    mode: &'static str,
    committed: u64,
    failed: u64,
    deadlocks: u64,
    lock_timeouts: u64,
    retries: u64,
    p50_ms: f64,
    p99_ms: f64,
    per_second: f64,
    lost: u64,
    duplicated: u64,
}

impl Numbers {
    fn of(run: &Run) -> Self {
        let Run { kind, tally, books } = run;
        Self {
            mode: kind.as_str(),
            committed: tally.counts.committed,
            failed: tally.counts.failed,
            deadlocks: tally.counts.deadlocks,
            lock_timeouts: tally.counts.lock_timeouts,
            retries: tally.counts.retries,
            p50_ms: tally.latencies.percentile_ms(50.0),
            p99_ms: tally.latencies.percentile_ms(99.0),
            per_second: (tally.per_second() * 10.0).round() / 10.0,
            lost: books.lost,
            duplicated: books.duplicated,
        }
    }
}

fn told_of(run: &Run, runs: &[Run], deadlock_timeout: &str) -> String {
    let mut told = match run.kind {
        Kind::Bare => told_of_bare(run, deadlock_timeout),
        Kind::Txsafe => told_of_txsafe(run, runs),
        Kind::Ordered => told_of_ordered(run, runs),
    };
    if let Some(oddity) = &run.tally.first_oddity {
        told += &format!(" Some failures had nothing to do with locks; the first one: {oddity}.");
    }
    told
}

fn told_of_bare(run: &Run, deadlock_timeout: &str) -> String {
    let counts = run.tally.counts;
    let asked = thousands(counts.committed + counts.failed);
    match counts.failed {
        0 => format!(
            "bare: none of {asked} requests failed this time; locks collide by chance, so try more --seconds."
        ),
        failed => format!(
            "bare: {} of {asked} requests failed to their caller, {} by a deadlock. The server looks for one only \
             after its deadlock_timeout ({deadlock_timeout}), and until then whoever needs one of these rows queues up \
             behind: p99 is {} ms.",
            thousands(failed),
            thousands(counts.deadlocks),
            p99(run),
        ),
    }
}

fn told_of_txsafe(run: &Run, runs: &[Run]) -> String {
    let counts = run.tally.counts;
    format!(
        "txsafe: {} failed. Rolled back early and repeated, unseen by their callers: {} that ran into a lock ({}, {}). \
         p99 is {} ms{}.",
        who(run, "the same handlers, rows and requests"),
        counted(counts.lock_timeouts + counts.deadlocks, "attempt", "attempts"),
        counted(counts.lock_timeouts, "lock timeout", "lock timeouts"),
        counted(counts.deadlocks, "deadlock", "deadlocks"),
        p99(run),
        compared(run, runs),
    )
}

fn told_of_ordered(run: &Run, runs: &[Run]) -> String {
    let counts = run.tally.counts;
    format!(
        "ordered: {} failed. Locks are taken as {}, and rows of one table by their keys, so nobody waits in a circle: \
         {}, and {} repeated after too long in a queue. p99 is {} ms{}.",
        who(run, "the same writes, rows and requests"),
        ShopOrder::TEXT,
        counted(counts.deadlocks, "deadlock", "deadlocks"),
        counted(counts.lock_timeouts, "attempt", "attempts"),
        p99(run),
        compared(run, runs),
    )
}

/// Who failed; nobody, with `alike` as in the bare mode.
fn who(run: &Run, alike: &str) -> String {
    let Counts { committed, failed, .. } = run.tally.counts;
    let asked = thousands(committed + failed);
    if failed == 0 {
        format!("{alike}, and none of {asked}")
    } else {
        format!("{} of {asked} requests", thousands(failed))
    }
}

fn p99(run: &Run) -> String {
    milliseconds(run.tally.latencies.percentile_ms(99.0))
}

/// How much a run committed, measured by the bare one.
fn compared(run: &Run, runs: &[Run]) -> String {
    let bare = runs.iter().find(|run| run.kind == Kind::Bare);
    match bare.map(|bare| run.tally.per_second() / bare.tally.per_second()) {
        Some(ratio) if ratio.is_finite() => {
            format!(", at {ratio:.1} times as many commits per second as bare")
        }
        Some(_) | None => String::new(),
    }
}

/// `text` in lines of at most 79 columns.
pub(crate) fn wrapped(text: &str) -> String {
    const COLUMNS: usize = 79;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { unreachable!("there is a first line") };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= COLUMNS {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Latencies;
    use std::time::Duration;

    fn run(kind: Kind, counts: Counts, books: Books) -> Run {
        let tally = Tally {
            counts,
            elapsed: Duration::from_secs(1),
            latencies: Latencies::new(),
            answers: Vec::new(),
            first_oddity: None,
        };
        Run { kind, tally, books }
    }

    #[test]
    fn what_is_promised_depends_on_the_mode() {
        let lost = || (Counts::default(), Books { lost: 1, ..Books::default() });
        let deadlock = || (Counts { deadlocks: 1, ..Counts::default() }, Books::default());
        let failure = || (Counts { failed: 1, ..Counts::default() }, Books::default());
        let kept = |kind| {
            [lost(), deadlock(), failure()]
                .map(|(counts, books)| run(kind, counts, books).is_as_promised())
        };
        assert_eq!(Kind::ALL.map(kept), [[true; 3], [false, true, true], [false; 3]]);
        assert!(run(Kind::Ordered, Counts::default(), Books::default()).is_as_promised());
    }

    #[test]
    fn a_broken_promise_is_told() {
        let counts = Counts { deadlocks: 1, failed: 2, ..Counts::default() };
        assert_eq!(
            violations(&[run(Kind::Ordered, counts, Books::default())]),
            [
                "ordered PROMISED NONE, AND THERE WAS: 1 deadlock",
                "ordered PROMISED NONE, AND THERE WAS: 2 failures",
            ]
        );
    }

    #[test]
    fn lines_are_broken_between_words() {
        let words = ["seven77"; 11].join(" ");
        let lines: Vec<usize> = wrapped(&words).lines().map(str::len).collect();
        assert_eq!(lines, [79, 7]);
    }
}
