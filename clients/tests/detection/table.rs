//! The table, as it is written into the document.

use std::fmt::Write as _;

use txsafe_clients::Wait;

use crate::measure::{Cell, Layer, Row, Words};

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->\n";

/// A line for each case.
pub(crate) fn write(rows: &[Row]) -> String {
    let mut table = String::from(
        "| | call | waits | blocked polls | client events | system calls | marked | without a mark |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = write!(table, "| `{}` | {} |", row.case.name, row.case.what);
        for layer in Layer::ALL {
            let _ = write!(table, " {} |", cell(row.cell(layer)));
        }
        let _ = writeln!(table, " {} |", verdict(row));
    }
    table
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Never => "–".to_owned(),
        Cell::Seen(words) => listed(words),
        Cell::Sometimes(words) => format!("{}, sometimes", listed(words)),
        Cell::AsTheDisk => "if the disk is slow".to_owned(),
        Cell::IfItWaits(words) => format!("{}, if it waits", listed(words)),
    }
}

fn listed(words: &Words) -> String {
    words.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Whether it is seen, or why not.
fn verdict(row: &Row) -> &'static str {
    if row.is_seen_without_a_mark() {
        return "seen";
    }
    match row.case.wait {
        _ if matches!(row.cell(Layer::Waits), Cell::IfItWaits(_)) => "if it waits",
        Wait::Suspends | Wait::Blocks => "**missed**",
        Wait::Yields => "no: it only makes room for others",
        Wait::GoesOn => "no: nobody waits",
    }
}

/// The document with this table in it.
pub(crate) fn replace(document: &str, table: &str) -> Result<String, &'static str> {
    let (before, rest) = document.split_once(BEGIN).ok_or("the table's begin isn't marked")?;
    let (_, after) = rest.split_once(END).ok_or("the table's end isn't marked")?;
    Ok(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

/// The lines that differ, if any do.
pub(crate) fn difference(committed: &str, measured: &str) -> Option<String> {
    let mut difference = String::new();
    for (mark, these, others) in [('-', committed, measured), ('+', measured, committed)] {
        for line in these.lines().filter(|line| !others.lines().any(|other| other == *line)) {
            let _ = writeln!(difference, "{mark} {line}");
        }
    }
    (committed != measured).then_some(difference)
}
