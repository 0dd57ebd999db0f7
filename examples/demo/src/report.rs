//! What is said of the runs: a table, some sentences, and JSON.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::{
    books::Books,
    modes::Kind,
    numbers::{counted, milliseconds, thousands},
    tally::Tally,
};

/// One mode, run and checked.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) kind: Kind,
    pub(crate) tally: Tally,
    pub(crate) books: Books,
}

/// The modes side by side.
pub(crate) fn table(runs: &[Run]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header([
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
    for (i, column) in table.column_iter_mut().enumerate() {
        // Narrow enough for a terminal of 80 columns.
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
            "The books are exact in both modes: whatever was reported as done is in the ledger once, nothing that was \
             reported as failed is, and money, stock, shipments, addresses and numbers add up."
                .to_owned(),
        );
    }
    paragraphs.iter().map(|paragraph| wrapped(paragraph)).collect::<Vec<_>>().join("\n\n")
}

/// What is wrong with the books, loudly.
pub(crate) fn violations(runs: &[Run]) -> Vec<String> {
    let of = |run: &Run| {
        let kind = run.kind;
        run.books
            .violations()
            .into_iter()
            .map(move |it| format!("THE BOOKS OF {kind} ARE WRONG: {it}"))
    };
    runs.iter().flat_map(of).collect()
}

/// One object on one line.
pub(crate) fn json(runs: &[Run]) -> String {
    let document = Document { runs: runs.iter().map(Numbers::of).collect() };
    // Numbers and words under fixed names: nothing in there can fail.
    serde_json::to_string(&document).unwrap_or_else(|error| unreachable!("{error}"))
}

#[derive(Debug, Serialize)]
struct Document {
    runs: Vec<Numbers>,
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
    let counts = run.tally.counts;
    let asked = counts.committed + counts.failed;
    let p99 = milliseconds(run.tally.latencies.percentile_ms(99.0));
    let mut told = match (run.kind, counts.failed) {
        (Kind::Bare, 0) => format!(
            "bare: none of {} requests failed this time; locks collide by chance, so try more --seconds.",
            thousands(asked)
        ),
        (Kind::Bare, failed) => format!(
            "bare: {} of {} requests failed to their caller, {} by a deadlock. The server looks for one \
             only after its deadlock_timeout ({deadlock_timeout}), and until then whoever needs one of these rows \
             queues up behind: p99 is {p99} ms.",
            thousands(failed),
            thousands(asked),
            thousands(counts.deadlocks),
        ),
        (Kind::Txsafe, failed) => format!(
            "txsafe: {} failed. Rolled back early and repeated, unseen by their callers: {} that ran into a lock ({}, \
             {}). p99 is {p99} ms{}.",
            if failed == 0 {
                format!("the same handlers, rows and requests, and none of {}", thousands(asked))
            } else {
                format!("{} of {} requests", thousands(failed), thousands(asked))
            },
            counted(counts.lock_timeouts + counts.deadlocks, "attempt", "attempts"),
            counted(counts.lock_timeouts, "lock timeout", "lock timeouts"),
            counted(counts.deadlocks, "deadlock", "deadlocks"),
            compared(run, runs),
        ),
    };
    if let Some(oddity) = &run.tally.first_oddity {
        told += &format!(" Some failures had nothing to do with locks; the first one: {oddity}.");
    }
    told
}

/// How much a run committed, measured by the bare one.
fn compared(run: &Run, runs: &[Run]) -> String {
    let bare = runs.iter().find(|run| run.kind == Kind::Bare);
    match bare.map(|bare| run.tally.per_second() / bare.tally.per_second()) {
        Some(ratio) if ratio.is_finite() => {
            format!(", at {ratio:.1} times the committed requests per second")
        }
        Some(_) | None => String::new(),
    }
}

/// `text` in lines of at most 79 columns.
fn wrapped(text: &str) -> String {
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

    #[test]
    fn lines_are_broken_between_words() {
        let words = ["seven77"; 11].join(" ");
        let lines: Vec<usize> = wrapped(&words).lines().map(str::len).collect();
        assert_eq!(lines, [79, 7]);
    }
}
