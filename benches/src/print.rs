//! Everything that is printed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks that way")]

use crate::{
    Error, Result,
    figure::{Bound, FIGURES, Findings},
};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use std::collections::BTreeMap;

/// Says what is being measured.
pub(crate) fn measuring(names: &[&str]) {
    eprintln!("measuring {}", names.join(", "));
}

/// Says why there are no values.
pub(crate) fn error(error: &(dyn std::error::Error + Send + Sync + 'static)) {
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  caused by: {cause}");
        source = cause.source();
    }
}

/// The values against their bounds.
pub(crate) fn table(findings: &Findings) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["name", "value", "rounds", "bound", "", "what it compares"]);
    for figure in &FIGURES {
        let Some(value) = findings.of(figure) else { continue };
        let (low, high) = value.range;
        let rounds =
            if low == high { String::new() } else { format!("{} … {}", short(low), short(high)) };
        let (bound, verdict) = match figure.bound {
            Bound::AtMost(bound) => (format!("≤ {bound:.2}"), figure.is_met(value)),
            Bound::AtLeast(bound) => (format!("≥ {bound:.2}"), figure.is_met(value)),
            Bound::Exactly(bound) => (format!("= {bound}"), figure.is_met(value)),
            Bound::None => (String::new(), true),
        };
        let verdict = match figure.bound {
            Bound::None => "",
            _ if verdict => "ok",
            _ => "MISSED",
        };
        table.add_row([
            Cell::new(figure.name),
            Cell::new(short(value.median)).set_alignment(CellAlignment::Right),
            Cell::new(rounds),
            Cell::new(bound),
            Cell::new(verdict),
            Cell::new(figure.compares),
        ]);
    }
    println!("{table}");
    if !findings.notes.is_empty() {
        println!("\nBehind the ratios, on this machine and now:");
        for note in &findings.notes {
            println!("  {note}");
        }
    }
}

/// The values as one line of JSON.
pub(crate) fn json(findings: &Findings) -> Result<()> {
    #[derive(Serialize)]
    struct Json {
        ratios: BTreeMap<&'static str, f64>,
    }
    let ratios = findings.values.iter().map(|value| (value.name, value.median)).collect();
    println!("{}", serde_json::to_string(&Json { ratios }).map_err(Error::from)?);
    Ok(())
}

fn short(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value}")
    } else if value.abs() < 10.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.1}")
    }
}
