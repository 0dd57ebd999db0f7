use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// Why a throw-away server, a schema or a test's database could not be had; the message names the cure.
///
/// `{error}` is one sentence or a few, without the [source](StdError::source); `{error:?}`, which is
/// what `unwrap()` prints, is the same text followed by every source.
///
/// # Examples
///
/// ```
/// use txsafe_testkit::Postgres;
///
/// let server = Postgres::start_blocking()?;
/// // Process 1 is no backend of this server, so it is left alone.
/// let error = server.kill_backend(1).unwrap_err();
/// assert!(error.to_string().contains("pg_backend_pid()"));
/// # Ok::<(), txsafe_testkit::Error>(())
/// ```
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error {
    // Shared, because a failed start of the process-wide server is reported to every test.
    inner: Arc<Inner>,
}

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Inner {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    MissingPrograms,
    NotOurServer,
    Other,
}

impl Error {
    /// Whether PostgreSQL's server programs are not installed, or too old.
    #[must_use]
    pub fn is_missing_programs(&self) -> bool {
        self.inner.kind == Kind::MissingPrograms
    }

    /// Whether the call needs a server that this crate started, and the server is the one
    /// `DATABASE_URL` names.
    #[must_use]
    pub fn is_not_our_server(&self) -> bool {
        self.inner.kind == Kind::NotOurServer
    }

    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::of(Kind::Other, message.into(), None)
    }

    pub(crate) fn caused(
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::of(Kind::Other, message.into(), Some(source.into()))
    }

    pub(crate) fn missing_programs(missing: &str) -> Self {
        let message = format!(
            "{missing}; run `cargo xtask setup` in txsafe's repository, or `apt-get install postgresql \
             libpq-dev` on Debian and Ubuntu, or set TXSAFE_PG_BIN to the folder that holds them"
        );
        Self::of(Kind::MissingPrograms, message, None)
    }

    pub(crate) fn not_our_server(method: &str) -> Self {
        let message = format!(
            "`{method}` needs a server that txsafe-testkit started, but DATABASE_URL names one that \
             somebody else runs; use `Postgres::start()` in this test, or unset DATABASE_URL"
        );
        Self::of(Kind::NotOurServer, message, None)
    }

    fn of(kind: Kind, message: String, source: Option<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { inner: Arc::new(Inner { kind, message, source }) }
    }
}

// `unwrap()` in a test prints this, and a test's author needs sentences, not a struct.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, "\n  caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_reads_like_a_sentence_and_adds_the_causes() {
        let error = Error::caused("no server", std::io::Error::other("disk full"));
        assert_eq!(error.to_string(), "no server");
        assert_eq!(format!("{error:?}"), "no server\n  caused by: disk full");
    }

    #[test]
    fn the_famous_traps_can_be_asked_for() {
        assert!(Error::missing_programs("").is_missing_programs());
        assert!(Error::not_our_server("restart").is_not_our_server());
        assert!(!Error::new("").is_missing_programs());
    }
}
