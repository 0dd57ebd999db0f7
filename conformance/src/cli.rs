//! The command line.

use clap::Parser;

/// Faults at every step, and storms of them, with every driver of txsafe, against a real PostgreSQL.
///
/// The server is a throw-away one, or the one that DATABASE_URL names; that one isn't crashed.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo xtask faults")]
pub struct Cli {
    /// Operations of all storms together.
    #[arg(long, default_value_t = 20_000)]
    pub operations: u64,
    /// How often the server crashes in each storm.
    #[arg(long, default_value_t = 2)]
    pub crashes: u64,
    /// The dice of the storms: the same for the same seed.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only this driver; may be repeated.
    #[arg(long = "driver", value_enum)]
    pub drivers: Vec<crate::drivers::Driver>,
    /// Only the storms.
    #[arg(long)]
    pub storms: bool,
    /// One line of JSON per result, and the sum on the last.
    #[arg(long)]
    pub json: bool,
}
