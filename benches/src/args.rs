//! The command line.

use crate::figure::FIGURES;
use clap::{Parser, builder::PossibleValuesParser};

/// Measures what txsafe costs and gains, as ratios between variants that take turns in one run.
///
/// Without DATABASE_URL it starts a private PostgreSQL server with the server's own defaults, fsync included.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
pub(crate) struct Args {
    /// Measure only these figures
    #[arg(long, num_args = 1.., value_name = "NAME", value_parser = names())]
    pub(crate) only: Vec<String>,
    /// How long each variant of a figure is measured, in all its rounds together
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// One very short round of each: shows that everything runs; the values mean nothing
    #[arg(long, conflicts_with = "seconds")]
    pub(crate) quick: bool,
    /// Print all values as JSON, too, in the last line
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with 1 if a bound is missed
    #[arg(long)]
    pub(crate) check: bool,
}

impl Args {
    /// Whether this figure was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(FIGURES.iter().map(|figure| figure.name))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("from 0.1 to 3600".to_owned()),
    }
}
