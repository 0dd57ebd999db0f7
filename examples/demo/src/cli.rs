//! The command line.

use std::time::Duration;

use clap::Parser;

/// Real handlers fight over real rows of a real PostgreSQL: bare diesel-async beside txsafe, and beside txsafe with a
/// lock order. Then a handler asks a slow service inside its transaction, and the guard tells of it.
///
/// Without a URL, the demo starts a throw-away server of its own and takes it away again.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    /// How long requests are made in each of the three modes, in seconds.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Which requests the workers make: the same seed gives all modes the same ones. Default: a new one each time.
    #[arg(long)]
    seed: Option<u64>,

    /// A server to use, like postgres://user@host:5432/database. Only a schema of the demo's own is touched there,
    /// and dropped at the end.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,

    /// Print one JSON object as the last line of stdout; all else goes to stderr.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Cli {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(crate) fn seed(&self) -> u64 {
        // Short enough to be typed.
        self.seed.unwrap_or_else(|| fastrand::u64(..1_000_000))
    }

    /// An empty variable counts as unset, as everywhere in this repository.
    pub(crate) fn database_url(&self) -> Option<&str> {
        self.database_url.as_deref().filter(|url| !url.is_empty())
    }
}
