//! What the run loops need of a connection.

use super::{
    account::Account,
    hooks::{AsyncHook, BlockingHook},
};
use crate::{
    dialect::{begin::Begin, failure::Failure, limits::Limits, postgres::literal::push_literal},
    guard::connection::Connection,
};
use std::{future::Future, sync::Arc, time::Duration};

/// What the connection itself says of the transaction once the closure has returned.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "every adapter must be able to say each of these")]
pub enum Standing {
    /// In a healthy transaction. The failure is one that a savepoint was rolled back for, with nothing done since.
    Open(Option<Failure>),
    /// BEGIN, or a setting that came with it, was refused: nothing ran.
    NotBegun(Failure),
    /// BEGIN itself was refused, and what was sent behind it ran outside any transaction.
    Unprotected(Failure),
    /// A statement failed, and the server refuses everything but the end of the transaction.
    Aborted(Failure),
    /// Something is still in flight: the connection must not be used.
    InFlight(Option<Failure>),
    /// The connection is gone.
    Lost(Failure),
    /// The closure ended the transaction, whether another one is open now or not.
    Ended,
    /// Still the transaction that was begun, but the connection answers one request with the answer to another: something that
    /// ran unseen left an exchange in its midst.
    OutOfStep(Failure),
    /// Something ran that wasn't seen, and the server couldn't be asked whether the transaction is still the one that was
    /// begun.
    Unidentified(Failure),
    /// A savepoint was never released or rolled back.
    SavepointOpen,
}

impl Standing {
    /// The failure of a statement that nobody has undone, if there is one.
    #[must_use]
    pub fn into_failure(self) -> Option<Failure> {
        match self {
            Self::Aborted(failure) | Self::NotBegun(failure) => Some(failure),
            Self::Open(_)
            | Self::InFlight(_)
            | Self::Lost(_)
            | Self::Unprotected(_)
            | Self::OutOfStep(_)
            | Self::Unidentified(_)
            | Self::Ended
            | Self::SavepointOpen => None,
        }
    }
}

/// How long a session waits for the remaining rows of a dropped stream, which may never end.
pub const UNREAD_ROWS: Duration = Duration::from_secs(1);

/// A question to the server whose answer is one text, or none.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// One statement that returns at most one row, with one `text` column named `answer`.
    pub sql: &'a str,
    /// Its bind values, all `text`.
    pub binds: &'a [&'a str],
    /// Asked about once on a connection: not worth a prepared statement, which besides is somebody else's behind a pooler that
    /// doesn't follow those.
    pub is_rare: bool,
}

impl<'a> Question<'a> {
    /// One that is asked often.
    #[must_use]
    pub const fn new(sql: &'a str, binds: &'a [&'a str]) -> Self {
        Self { sql, binds, is_rare: false }
    }

    /// One that is asked about once on a connection, without bind values.
    #[must_use]
    pub const fn rare(sql: &'a str) -> Self {
        Self { sql, binds: &[], is_rare: true }
    }
}

impl Question<'_> {
    /// As one simple query, with its bind values as literals: for drivers that would prepare a statement with binds at
    /// the cost of a round trip.
    #[must_use]
    pub fn inlined(&self) -> String {
        let mut sql = String::with_capacity(self.sql.len() + 64);
        for (text, bind) in self.parts() {
            if let Some(bind) = bind {
                push_literal(&mut sql, bind);
            }
            sql.push_str(text);
        }
        sql
    }

    /// The texts between its parameters, each but the first with the bind value that stands before it.
    pub fn parts(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.sql.split('$').enumerate().map(|(i, part)| {
            if i == 0 {
                return (part, None);
            }
            // Behind the sign stands the number of a bind value, from 1 on.
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = part.split_at(digits);
            let bind = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
            (rest, bind.and_then(|n| self.binds.get(n)).copied())
        })
    }
}

/// What a connection is taken and used with.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SessionOptions {
    /// The longest to wait for a connection: the caller's setting, cut to the time that is left.
    pub checkout_timeout: Duration,
    /// The longest to wait for the answer to BEGIN, ROLLBACK or a question of the run loop.
    pub answer_timeout: Duration,
    /// The `lock_timeout` of the call: the longest that BEGIN waits where it takes a lock. Zero where it is left to the session.
    pub lock_timeout: Duration,
    /// Whether the trail shows bind values.
    pub bind_values: bool,
}

/// A connection while it runs one attempt. See the [contract](crate::driver#contract) for what dropping it must do.
pub trait AsyncSession: Send {
    /// The limits that the session has of its own, as far as they were read on this connection and nothing has changed them since;
    /// `None` if they are to be read. A failure means that the connection is of no use.
    fn known_limits(&mut self) -> impl Future<Output = Result<Option<Limits>, Failure>> + Send;

    /// They were read: keeps them with the connection, if it has a place for them, until something may have changed them.
    fn keep_limits(&mut self, limits: Limits);

    /// Begins a transaction. It may return before the server has answered, where what follows is safe all the same
    /// and [`settle`](Self::settle) tells of a failure.
    fn begin(&mut self, begin: &Begin) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Asks within the transaction.
    fn ask(
        &mut self,
        question: Question<'_>,
    ) -> impl Future<Output = Result<Option<String>, Failure>> + Send;

    /// Waits, at most `patience`, until nothing is in flight; then says how the transaction stands.
    fn settle(&mut self, patience: Duration) -> impl Future<Output = Standing> + Send;

    /// Whether something ran that wasn't seen, and may have left the transaction or the connection in another state than
    /// [`settle`](Self::settle) says. The run loop then asks the server.
    fn is_unsure(&mut self) -> bool;

    /// Commits, and waits at most `patience` for the answer. When the time is up it closes the connection, cancels nothing,
    /// and returns a lost connection. Once this future has been polled, COMMIT runs to that end even if the future is
    /// dropped; the hooks of the [`Account`] then run where COMMIT does.
    fn commit(&mut self, patience: Duration) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Rolls back.
    fn rollback(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The account of this attempt.
    fn account(&mut self) -> &mut Account<AsyncHook>;

    /// What the guard asks while the closure runs.
    fn connection(&self) -> Arc<dyn Connection>;

    /// Returns the connection to where it came from.
    fn give_back(self);
}

/// The closure returned an error, which is kept where it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it stands for an error that is kept elsewhere")]
pub struct CallersError;

/// Where the connections of a transaction come from.
pub trait AsyncSource: Send {
    /// A connection while it runs one attempt.
    type Session: AsyncSession;

    /// Gets a connection, within the checkout timeout.
    fn open(
        &mut self,
        options: SessionOptions,
    ) -> impl Future<Output = Result<Self::Session, Failure>> + Send;

    /// Sleeps.
    fn sleep(&self, pause: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// Waits for `after`, until the caller's deadline. An adapter whose `sleep` follows a clock that tests can pause must wait in
    /// real time here, because the server does. Default: [`sleep`](Self::sleep).
    fn deadline(&self, after: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.sleep(after)
    }
}

/// One transaction as the run loop sees it: where its connections come from, and the caller's closure.
pub trait AsyncWork: AsyncSource {
    /// Runs the caller's closure, and keeps what it returned.
    fn body<'s>(
        &'s mut self,
        session: &'s mut Self::Session,
    ) -> impl Future<Output = Result<(), CallersError>> + Send;

    /// Another attempt follows: what the closure returned is needed no more, and may hold what that one waits for.
    fn forget(&mut self) {}
}

/// The blocking twin of [`AsyncSession`].
#[expect(clippy::missing_errors_doc, reason = "each is documented at its twin")]
pub trait Session {
    /// See [`AsyncSession::known_limits`].
    fn known_limits(&mut self) -> Result<Option<Limits>, Failure>;
    /// See [`AsyncSession::keep_limits`].
    fn keep_limits(&mut self, limits: Limits);
    /// See [`AsyncSession::begin`].
    fn begin(&mut self, begin: &Begin) -> Result<(), Failure>;
    /// See [`AsyncSession::ask`].
    fn ask(&mut self, question: Question<'_>) -> Result<Option<String>, Failure>;
    /// See [`AsyncSession::settle`].
    fn settle(&mut self, patience: Duration) -> Standing;
    /// See [`AsyncSession::is_unsure`].
    fn is_unsure(&mut self) -> bool;
    /// See [`AsyncSession::commit`]. A thread can't be called back: it waits for as long as COMMIT takes.
    fn commit(&mut self) -> Result<(), Failure>;
    /// See [`AsyncSession::rollback`].
    fn rollback(&mut self) -> Result<(), Failure>;
    /// See [`AsyncSession::account`].
    fn account(&mut self) -> &mut Account<BlockingHook>;
    /// See [`AsyncSession::connection`].
    fn connection(&self) -> Arc<dyn Connection>;
    /// See [`AsyncSession::give_back`].
    fn give_back(self);
}

/// The blocking twin of [`AsyncSource`].
#[expect(clippy::missing_errors_doc, reason = "each is documented at its twin")]
pub trait Source {
    /// See [`AsyncSource::Session`].
    type Session: Session;

    /// See [`AsyncSource::open`].
    fn open(&mut self, options: SessionOptions) -> Result<Self::Session, Failure>;
    /// See [`AsyncSource::sleep`].
    fn sleep(&self, pause: Duration);
}

/// The blocking twin of [`AsyncWork`].
#[expect(clippy::missing_errors_doc, reason = "each is documented at its twin")]
pub trait Work: Source {
    /// See [`AsyncWork::body`].
    fn body(&mut self, session: &mut Self::Session) -> Result<(), CallersError>;
    /// See [`AsyncWork::forget`].
    fn forget(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_become_literals_that_cannot_be_left() {
        let inlined = |sql, binds| Question::new(sql, binds).inlined();
        assert_eq!(inlined("SELECT 1", &[]), "SELECT 1");
        assert_eq!(
            inlined("f($2::text, $1)", &["o'clock", r"\'; DROP TABLE t; --"]),
            r"f(E'\\''; DROP TABLE t; --'::text, 'o''clock')",
        );
        assert_eq!(inlined("$1 $2", &["$2", "x"]), "'$2' 'x'");
        let ten = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        assert_eq!(inlined("f($10, $1)", &ten), "f('j', 'a')");
    }
}
