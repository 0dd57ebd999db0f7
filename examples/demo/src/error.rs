//! Why the demo ended early, and what to do about it.

use std::{fmt, io, process::ExitCode, time::Duration};

use crate::modes::Kind;

/// Why the demo ended early.
#[derive(Debug)]
pub(crate) enum Error {
    /// No server of our own could be started.
    NoServer(txsafe_testkit::Error),
    /// The URL is none of PostgreSQL's.
    NotAUrl,
    /// The server can't be reached, or doesn't let us in.
    Unreachable(String),
    /// The server refused what the demo needs, or went away meanwhile.
    Refused { doing: &'static str, message: String },
    /// Requests of this mode failed one after another, for no reason that a demo of locks is about.
    Trouble { kind: Kind, message: String },
    /// Requests still ran, long after the mode's time was over.
    Stuck { kind: Kind, waited: Duration },
    /// Somebody panicked; the message has been printed.
    Panicked(String),
    /// There is no port for a payment provider.
    NoPort(io::Error),
    /// The schema could not be dropped.
    LeftBehind { schema: String, message: String },
    /// Ctrl-C, or its like.
    Signalled { signal: u8 },
}

impl Error {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            // What a shell reports of a process that a signal ended.
            Self::Signalled { signal } => ExitCode::from(128 + signal),
            Self::NoServer(_)
            | Self::NotAUrl
            | Self::Unreachable(_)
            | Self::Refused { .. }
            | Self::Trouble { .. }
            | Self::Stuck { .. }
            | Self::Panicked(_)
            | Self::NoPort(_)
            | Self::LeftBehind { .. } => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer(error) => write!(f, "no PostgreSQL server could be started: {error:?}"),
            Self::NotAUrl => f.write_str(
                "the database URL is not one of PostgreSQL: write it like \
                 postgres://user@host:5432/database, or unset DATABASE_URL and the demo starts a server of its own",
            ),
            Self::Unreachable(message) => write!(
                f,
                "the server that the database URL names can't be used: {message}; correct host, port, user, password \
                 or database in it, or unset DATABASE_URL and the demo starts a server of its own",
            ),
            Self::Refused { doing, message } => write!(
                f,
                "the server did not let the demo {doing}: {message}; it needs a server that stays up and a user who \
                 may create a schema (GRANT CREATE ON DATABASE …)",
            ),
            Self::Trouble { kind, message } => write!(
                f,
                "requests of mode {kind} failed one after another, the last one with: {message}; if the server \
                 crashed, was stopped or restarted, its log says why: start it and run the demo again",
            ),
            Self::Stuck { kind, waited } => write!(
                f,
                "requests of mode {kind} still ran {waited:.0?} after its end; the server hangs or somebody else \
                 locks the demo's tables: look into pg_stat_activity and run the demo again",
            ),
            Self::Panicked(who) => write!(
                f,
                "{who} panicked, which is a bug of the demo or of txsafe; report it with the message above",
            ),
            Self::NoPort(error) => write!(
                f,
                "the demo's payment provider has no port on 127.0.0.1: {error}; it needs the loopback interface, and one \
                 port that is free",
            ),
            Self::LeftBehind { schema, message } => write!(
                f,
                "schema {schema} could not be dropped: {message}; once the server can be reached, run `DROP SCHEMA \
                 IF EXISTS {schema} CASCADE`",
            ),
            Self::Signalled { .. } => f.write_str("interrupted"),
        }
    }
}
