//! The databases of SQLx that txsafe runs on, and what is different between them.
//!
//! Functions that run statements are `inline`, so that this crate compiles none of SQLx's, and the service does so once.
//!
//! The types of this module are those behind the names of the crate's root and of [`sqlite`](crate::sqlite).

#[cfg(feature = "postgres")]
pub(crate) mod limits;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

pub use crate::{driver::Driver, held::Held, tx::Tx};
use futures_util::future::{BoxFuture, ready};
use sqlx::{Database, Error as SqlxError};
use std::time::Duration;
use txsafe::{
    Error, Failure, LockOrder,
    driver::{Alarm, Begin, BindKey, Dialect, Limits, LockCall, Question},
};

/// A database of SQLx that txsafe runs on: [`sqlx::Postgres`] with the feature `postgres`, `sqlx::Sqlite` with the feature
/// `sqlite`. There is nothing to implement.
pub trait Engine: Database + sealed::Rules {}

impl<DB: Database + sealed::Rules> Engine for DB {}

/// The connection of a database.
pub(crate) type Conn<DB> = <DB as Database>::Connection;

/// What counts the transactions and savepoints of a connection.
pub(crate) type Manager<DB> = <DB as Database>::TransactionManager;

/// What the rest of this crate asks of a database.
pub(crate) mod sealed {
    use super::*;

    /// What the end of a transaction must know of its begin.
    #[derive(Debug, Default, Clone)]
    pub struct Begun {
        /// What COMMIT's message says first.
        pub(crate) before_commit: String,
        /// What was changed on the session is restored by this.
        #[cfg_attr(
            not(feature = "sqlite"),
            expect(dead_code, reason = "PostgreSQL's settings end with the transaction")
        )]
        pub(crate) restore: String,
    }

    /// Where something is remembered of a connection.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Place(pub(crate) usize);

    /// What is remembered of a connection.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct Known {
        /// Neither is there where its limits are read each time.
        pub(crate) place: Option<Place>,
        pub(crate) limits: Option<Limits>,
    }

    pub trait Rules: Database {
        /// What it is asked, and how its answers are read.
        const DIALECT: &'static dyn Dialect;

        /// Whether it refuses statements behind one that failed. Otherwise `&mut Tx` does.
        const ABORTS: bool;

        /// Whether this statement ends the transaction.
        fn leaves_transaction(sql: &str) -> bool;

        /// The failure behind an error.
        fn failure_of(error: &SqlxError) -> Failure;

        /// The bind values, as a text that [`nth_bind`](Self::nth_bind) reads.
        fn show_binds(arguments: &Self::Arguments) -> String;

        /// The bind value with this number, counted from 0, if it can be found.
        fn nth_bind(shown: &str, n: usize) -> Option<BindKey>;

        /// Whether a statement may have changed the session's own limits, where they are remembered.
        fn may_change_limits(_sql: &str) -> bool {
            false
        }

        /// The session's own limits, as far as they are remembered, and where.
        fn known_limits(_conn: &mut Conn<Self>) -> BoxFuture<'_, Result<Known, SqlxError>> {
            Box::pin(ready(Ok(Known::default())))
        }

        /// Remembers them, or forgets them.
        fn set_limits(_place: Place, _limits: Option<Limits>) {}

        /// Begins a transaction, on a session that has these limits of its own. If that fails, none is open.
        fn begin<'e>(
            conn: &'e mut Conn<Self>,
            begin: &'e Begin,
            limits: Option<Limits>,
        ) -> BoxFuture<'e, Result<Begun, SqlxError>>;

        /// Asks within a transaction.
        fn ask<'e>(
            conn: &'e mut Conn<Self>,
            question: Question<'e>,
        ) -> BoxFuture<'e, Result<Option<String>, SqlxError>>;

        /// Commits. A refusal has ended the transaction. The answer is waited for at most for `patience`.
        fn commit<'e>(
            conn: &'e mut Conn<Self>,
            begun: &'e Begun,
            alarm: &'e Alarm,
            patience: Duration,
        ) -> BoxFuture<'e, Result<(), Failure>>;

        /// Restores what was changed on the session, where nothing can be awaited.
        fn restore_unawaited(conn: &mut Conn<Self>, begun: &Begun);

        /// Ends what a COMMIT that was answered has left.
        fn finish<'e>(
            conn: &'e mut Conn<Self>,
            begun: &'e Begun,
        ) -> BoxFuture<'e, Result<(), SqlxError>>;

        /// Rolls back. Where nothing is open any more, that is an error of the condition
        /// [`NoTransaction`](txsafe::Condition::NoTransaction).
        fn rollback<'e>(
            conn: &'e mut Conn<Self>,
            begun: &'e Begun,
        ) -> BoxFuture<'e, Result<(), SqlxError>>;

        /// Runs a statement of txsafe's own.
        fn run(conn: &mut Conn<Self>, sql: String) -> BoxFuture<'_, Result<(), SqlxError>>;

        /// Whether a transaction is open, however it was begun.
        fn is_in_transaction(conn: &mut Conn<Self>) -> BoxFuture<'_, Result<bool, Failure>>;

        /// Takes an advisory lock, or a number of a sequence.
        fn call<'t, O: LockOrder, Held>(
            tx: &'t mut Tx<'_, Self, O, Held>,
            call: LockCall,
        ) -> BoxFuture<'t, Result<Option<String>, Error>>
        where
            Self: Engine;
    }
}
