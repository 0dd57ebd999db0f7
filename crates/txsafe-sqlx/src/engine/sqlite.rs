//! SQLite on SQLx.

use super::sealed::{Begun, Rules};
use crate::{driver_error::failure_behind, failure::of_request, held, tx};
use futures_util::{
    FutureExt,
    future::{BoxFuture, ready},
};
use sqlx::{
    AssertSqlSafe, Error as SqlxError, Executor, Row, SqlSafeStr, Sqlite, SqliteConnection, query,
    query_scalar,
    sqlite::{SqliteArguments, SqliteTransactionManager as Manager},
};
use sqlx_core::transaction::TransactionManager;
use std::time::{Duration, Instant};
use txsafe::{
    Condition, Error, ErrorCode, Failure, LockOrder, NoOrder, Unlocked,
    driver::{Alarm, Begin, BindKey, Dialect, Limits, LockCall, Locks, Question, sqlite},
};

/// SQLx on SQLite.
pub type Driver = crate::driver::Driver<Sqlite>;

/// A database, reached through a [`SqlitePool`](sqlx::SqlitePool), however that was built.
pub type Database<O = NoOrder> = txsafe::Database<Driver, O>;

/// A [`Database`] with the options of one call; made by [`Database::with`].
pub type Configured<'d, O = NoOrder> = txsafe::Configured<'d, Database<O>>;

/// A [`Database`] with an idempotency key; made by [`Database::idempotency_key`].
pub type WithKey<'d, O = NoOrder> = txsafe::WithKey<'d, Database<O>>;

/// A transaction that its caller begins and ends by hand; made by [`Database::begin`].
pub type OwnedTx<O = NoOrder> = txsafe::OwnedTx<Driver, O>;

/// Attempts at a transaction that its caller begins and ends by hand; made by [`Database::attempts`].
pub type Attempts<'d, O = NoOrder> = txsafe::Attempts<'d, Driver, O>;

/// [`Attempts`] at a transaction with an idempotency key; made by [`WithKey::attempts`].
pub type KeyedAttempts<'d, O = NoOrder> = txsafe::KeyedAttempts<'d, Driver, O>;

/// A transaction on SQLite.
pub type Tx<'c, O = NoOrder, Held = Unlocked> = tx::Tx<'c, Sqlite, O, Held>;

/// A connection that `transaction_on` can run on: a plain one, or one of a pool.
pub type Held<'a> = held::Held<'a, Sqlite>;

txsafe::__savepoint_method!(async Tx on Driver);
txsafe::__many_methods!(async Tx on Driver);
txsafe::__hook_methods!(async Tx);
txsafe::__hint_methods!(async Tx);
txsafe::__transact!(Tx on Driver by Transact);

/// COMMIT that found the database busy is repeated after so long.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

impl Rules for Sqlite {
    const DIALECT: &'static dyn Dialect = &sqlite::Sqlite;
    const ABORTS: bool = false;

    fn leaves_transaction(sql: &str) -> bool {
        sqlite::leaves_transaction(sql)
    }

    fn failure_of(error: &SqlxError) -> Failure {
        failure_of(error)
    }

    /// The database has one lock, and nothing to be learned of it.
    fn show_binds(_arguments: &SqliteArguments) -> String {
        String::new()
    }

    fn nth_bind(_shown: &str, _n: usize) -> Option<BindKey> {
        None
    }

    #[inline]
    fn begin<'e>(
        conn: &'e mut SqliteConnection,
        begin: &'e Begin,
        limits: Option<Limits>,
    ) -> BoxFuture<'e, Result<Begun, SqlxError>> {
        Box::pin(async move {
            let timeout = match limits.and_then(|limits| limits.lock_timeout) {
                Some(timeout) => i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX),
                None => query_scalar("PRAGMA busy_timeout").fetch_one(&mut *conn).await?,
            };
            let mut restore = format!("PRAGMA busy_timeout = {timeout}");
            if begin.sql().contains("query_only") {
                let only: i64 = query_scalar("PRAGMA query_only").fetch_one(&mut *conn).await?;
                restore = format!("{restore}; PRAGMA query_only = {only}");
            }
            let sql = AssertSqlSafe(begin.sql()).into_sql_str();
            if let Err(error) = Manager::begin(conn, Some(sql)).await {
                conn.execute(AssertSqlSafe(restore)).await?;
                return Err(error);
            }
            Ok(Begun { before_commit: begin.before_commit().to_string(), restore })
        })
    }

    #[inline]
    fn ask<'e>(
        conn: &'e mut SqliteConnection,
        question: Question<'e>,
    ) -> BoxFuture<'e, Result<Option<String>, SqlxError>> {
        Box::pin(async move {
            let parameters = question.parts().filter(|(_, bind)| bind.is_some()).count();
            let mut asked = query(AssertSqlSafe(question.sql));
            for bind in &question.binds[..parameters.min(question.binds.len())] {
                asked = asked.bind((*bind).to_owned());
            }
            let row = conn.fetch_optional(asked).await?;
            row.map_or(Ok(None), |row| row.try_get("answer"))
        })
    }

    /// In rollback-journal mode COMMIT is busy while somebody reads, and may be repeated where it stands.
    #[inline]
    fn commit<'e>(
        conn: &'e mut SqliteConnection,
        begun: &'e Begun,
        _alarm: &'e Alarm,
        patience: Duration,
    ) -> BoxFuture<'e, Result<(), Failure>> {
        Box::pin(async move {
            let until = Instant::now() + patience;
            let mut refused = release(conn, begun).await.err();
            while refused.is_none() {
                let Err(error) = Manager::commit(conn).await else { return Ok(()) };
                let failure = of_commit(&error);
                if failure.condition() != Condition::LockTimeout || Instant::now() >= until {
                    refused = Some(failure);
                } else {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
            }
            end_whatever_is_open(conn).await;
            // A PRAGMA that worked at the begin works now; if it doesn't, the next transaction says so.
            let _ = Self::finish(conn, begun).await;
            refused.map_or(Ok(()), Err)
        })
    }

    #[inline]
    fn restore_unawaited(conn: &mut SqliteConnection, begun: &Begun) {
        for setting in begun.restore.split("; ") {
            // Polled once, it is on its way to the connection's thread.
            drop(conn.execute(AssertSqlSafe(setting.to_owned())).now_or_never());
        }
    }

    #[inline]
    fn finish<'e>(
        conn: &'e mut SqliteConnection,
        begun: &'e Begun,
    ) -> BoxFuture<'e, Result<(), SqlxError>> {
        Box::pin(async { conn.execute(AssertSqlSafe(begun.restore.clone())).await.map(drop) })
    }

    #[inline]
    fn rollback<'e>(
        conn: &'e mut SqliteConnection,
        begun: &'e Begun,
    ) -> BoxFuture<'e, Result<(), SqlxError>> {
        Box::pin(async {
            // Whatever is open now, it isn't ours if this fails: and then what ran in ours may be committed.
            let is_ours = conn.execute(AssertSqlSafe(begun.before_commit.clone())).await;
            let rolled_back = Manager::rollback(conn).await;
            if rolled_back.is_err() {
                end_whatever_is_open(conn).await;
            }
            Self::finish(conn, begun).await?;
            is_ours.and(rolled_back)
        })
    }

    #[inline]
    fn run(conn: &mut SqliteConnection, sql: String) -> BoxFuture<'_, Result<(), SqlxError>> {
        Box::pin(async move { conn.execute(AssertSqlSafe(sql)).await.map(drop) })
    }

    /// SQLx knows of those that it began itself; another one refuses to be begun again.
    #[inline]
    fn is_in_transaction(conn: &mut SqliteConnection) -> BoxFuture<'_, Result<bool, Failure>> {
        Box::pin(async {
            if Manager::get_transaction_depth(conn) > 0 {
                return Ok(true);
            }
            // One command for the connection's thread: nothing comes in between, also if this is dropped.
            match Manager::begin(conn, Some("BEGIN DEFERRED; ROLLBACK".into_sql_str())).await {
                Err(SqlxError::BeginFailed) => Ok(false),
                Ok(()) => Ok(true),
                Err(error) => match of_request::<Self>(&error) {
                    failure if failure.condition() == Condition::OpenTransaction => Ok(true),
                    failure => Err(failure),
                },
            }
        })
    }

    fn call<'t, O: LockOrder, Held>(
        _tx: &'t mut <Driver as Locks>::Tx<'_, O, Held>,
        _call: LockCall,
    ) -> BoxFuture<'t, Result<Option<String>, Error>> {
        let message = "SQLite has no advisory locks and no sequences: a transaction that may write holds the whole \
                       database from its begin, so leave them out";
        Box::pin(ready(Err(Failure::local(message).into())))
    }
}

impl<'a> From<&'a mut SqliteConnection> for Held<'a> {
    fn from(conn: &'a mut SqliteConnection) -> Self {
        Self::plain(conn)
    }
}

/// The failure behind one of SQLx's errors on SQLite: what it is, in the words that reports and
/// [`TxOptions`](crate::TxOptions) have.
#[must_use]
pub fn failure_of(error: &SqlxError) -> Failure {
    if let Some(failure) = failure_behind(error) {
        return failure.clone();
    }
    match error {
        SqlxError::Database(database) => {
            let code = database.code().and_then(|code| code.parse().ok());
            code.map_or_else(
                || Failure::local(error.to_string()),
                |code| sqlite::failure(code, database.message()),
            )
        }
        // The thread that the connection lives on has gone.
        SqlxError::WorkerCrashed | SqlxError::Io(_) => Failure::lost(None, error.to_string()),
        error => Failure::local(error.to_string()),
    }
}

/// Releases the savepoint by which the transaction is known: it is still ours.
async fn release(conn: &mut SqliteConnection, begun: &Begun) -> Result<(), Failure> {
    let released = conn.execute(AssertSqlSafe(begun.before_commit.clone())).await;
    released.map(drop).map_err(|error| of_request::<Sqlite>(&error))
}

/// The failure of COMMIT. It is written before all of its I/O is done.
fn of_commit(error: &SqlxError) -> Failure {
    let failure = of_request::<Sqlite>(error);
    let failure = match failure.code() {
        Some(code @ ErrorCode::Vendor(number)) if sqlite::is_io_error(number) => {
            let (condition, effect) = (Condition::CommitUnknown, failure.effect());
            Failure::of_code(code, condition, effect, failure.message())
        }
        _ => failure,
    };
    failure.with_statement(Some("COMMIT".into()))
}

/// Rolls back whatever is open, for SQLx's own count too. If that fails, the connection is closed.
async fn end_whatever_is_open(conn: &mut SqliteConnection) {
    // It fails where a transaction is open, and opens one where none is.
    let _ = conn.execute("BEGIN DEFERRED").await;
    let _ = Manager::rollback(conn).await;
}
