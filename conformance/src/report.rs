//! What is printed: tables for people, lines of JSON for programs.

use crate::{
    cases::Case,
    drivers::Driver,
    matrix::Played,
    policy::{End, Policy, Tally},
    storm::Weathered,
    traps::{Sprung, Trap},
};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use std::fmt::Write;

/// The sum of everything, which is also the last line of JSON.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Sum {
    /// Rows of the matrix, cases and storms.
    pub rows: u64,
    /// Those that came out as they should.
    pub passed: u64,
    /// Operations that were run.
    pub operations: u64,
    /// Said to be committed, and not there.
    pub lost: u64,
    /// There more than once.
    pub duplicated: u64,
    /// Said to be rolled back, and there.
    pub wrongly_known: u64,
}

impl Sum {
    /// Counts a row.
    pub fn row(&mut self, passed: bool) {
        self.rows += 1;
        self.passed += u64::from(passed);
    }

    /// Counts operations.
    pub fn tally(&mut self, tally: &Tally) {
        self.operations += tally.operations;
        self.lost += tally.lost;
        self.duplicated += tally.duplicated;
        self.wrongly_known += tally.wrongly_known;
    }

    /// Whether all is well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.rows == self.passed && (self.lost, self.duplicated, self.wrongly_known) == (0, 0, 0)
    }
}

/// What became of the operation under each policy, by place, fault and driver.
#[must_use]
pub fn matrix(drivers: &[Driver], rows: &[Played]) -> String {
    let mut table = table(&["at", "fault"], drivers);
    let is_first = |p: &&Played| p.row.driver == drivers[0] && p.row.policy == Policy::ALL[0];
    for first in rows.iter().filter(is_first) {
        let is_same = |p: &&Played| p.row.at == first.row.at && p.row.fault == first.row.fault;
        let mut line = vec![Cell::new(first.row.at), Cell::new(&first.row.fault)];
        for driver in drivers {
            let ends = rows.iter().filter(is_same).filter(|p| p.row.driver == *driver);
            let ends = ends.map(|played| letter(played.end, played.passed()));
            line.push(Cell::new(ends.collect::<Vec<_>>().join(" ")));
        }
        table.add_row(line);
    }
    let mut text = table.to_string();
    let policies = Policy::ALL.map(|policy| policy.to_string()).join(", ");
    let _ = write!(
        text,
        "\nWhat the caller hears under each policy ({policies}): C committed, R rolled back, ? unknown; and it is so.\n"
    );
    for wrong in rows.iter().filter(|played| !played.passed()) {
        let _ = writeln!(text, "WRONG {wrong}");
    }
    text
}

/// The same of the traps.
#[must_use]
pub fn traps(drivers: &[Driver], rows: &[Sprung]) -> String {
    let mut table = table(&["trap"], drivers);
    for trap in Trap::ALL {
        let mut line = vec![Cell::new(trap)];
        for driver in drivers {
            let is_same = |s: &&Sprung| s.row.trap == trap && s.row.driver == *driver;
            let ends = rows.iter().filter(is_same).map(|s| letter(s.end, s.passed()));
            line.push(Cell::new(ends.collect::<Vec<_>>().join(" ")));
        }
        table.add_row(line);
    }
    let mut text = format!("{table}\n");
    for wrong in rows.iter().filter(|sprung| !sprung.passed()) {
        let _ = writeln!(text, "WRONG {wrong}");
    }
    text
}

fn letter(end: End, passed: bool) -> String {
    let letter = match end {
        End::Committed => "C",
        End::RolledBack => "R",
        End::Unknown => "?",
    };
    if passed { letter.into() } else { format!("{letter}!") }
}

/// What is promised, and whether each driver keeps it.
#[must_use]
pub fn cases(drivers: &[Driver], results: &[(Driver, Case, Result<(), String>)]) -> String {
    let mut table = table(&["promise"], drivers);
    for case in Case::all() {
        let mut line = vec![Cell::new(case.name.replace('_', " "))];
        for driver in drivers {
            let result = results.iter().find(|(d, c, _)| d == driver && c.name == case.name);
            line.push(Cell::new(match result {
                Some((_, _, Ok(()))) => "kept",
                Some((_, _, Err(_))) => "BROKEN",
                None => "-",
            }));
        }
        table.add_row(line);
    }
    let mut text = format!("{table}\n");
    for (driver, case, result) in results {
        if let Err(message) = result {
            let _ = writeln!(text, "BROKEN {driver}: {}: {message}", case.name);
        }
    }
    text
}

/// What the storms did.
#[must_use]
pub fn storms(storms: &[Weathered]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header([
        "driver",
        "policy",
        "operations",
        "faults",
        "traps",
        "kills",
        "crashes",
        "unknown",
        "lost",
        "duplicated",
        "wrongly known",
        "seconds",
    ]);
    for storm in storms {
        let tally = &storm.tally;
        let mut line = vec![Cell::new(storm.driver), Cell::new(storm.policy)];
        line.extend(
            [
                tally.operations,
                storm.faults,
                storm.traps,
                storm.kills,
                storm.crashes,
                tally.unknown,
                tally.lost,
                tally.duplicated,
                tally.wrongly_known,
            ]
            .map(|number| Cell::new(number).set_alignment(CellAlignment::Right)),
        );
        line.push(Cell::new(format!("{:.1}", storm.seconds)).set_alignment(CellAlignment::Right));
        table.add_row(line);
    }
    let mut text = format!("{table}\n");
    for storm in storms.iter().filter(|storm| !storm.passed()) {
        let _ = writeln!(text, "WRONG {storm:?}");
    }
    text
}

fn table(columns: &[&str], drivers: &[Driver]) -> Table {
    let mut table = Table::new();
    let header = columns.iter().copied().chain(drivers.iter().map(|driver| driver.name()));
    table.load_preset(presets::NOTHING).set_header(header);
    table
}
