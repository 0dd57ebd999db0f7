//! PostgreSQL on SQLx.

use super::{
    limits,
    sealed::{Begun, Known, Place, Rules},
};
use crate::{
    binds::{nth_bind, shown},
    driver_error::failure_behind,
    failure::of_request,
    held,
    row::Row,
    tx,
};
use futures_util::future::BoxFuture;
use sqlx::{
    AssertSqlSafe, Error as SqlxError, Executor, PgConnection, Postgres, Row as _, SqlSafeStr,
    postgres::{PgArguments, PgDatabaseError, PgSeverity, PgTransactionManager as Manager},
};
use sqlx_core::transaction::TransactionManager;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use txsafe::{
    Error, Failure, LockOrder, NoOrder, SqlState, Unlocked,
    driver::{
        Alarm, Begin, BindKey, Dialect, ErrorFields, Limits, LockCall, LockStatement, Locks,
        Question, Reads, leaves_transaction, may_change_limits,
    },
    outbox::{
        ask::{Ask, Rows},
        write::Asks,
    },
};

/// SQLx on PostgreSQL.
pub type Driver = crate::driver::Driver<Postgres>;

/// A database, reached through a [`PgPool`](sqlx::PgPool), however that was built.
pub type Database<O = NoOrder> = txsafe::Database<Driver, O>;

/// A [`Database`] for one test, whose transactions are rolled back; made by [`Database::sandbox`].
#[cfg(feature = "sandbox")]
pub type Sandbox<O = NoOrder> = txsafe::Sandbox<Driver, O>;

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

/// A transaction on PostgreSQL; see [`Tx`](tx::Tx).
///
/// Where there is no order, write `Tx<'_>`.
pub type Tx<'c, O = NoOrder, Held = Unlocked> = tx::Tx<'c, Postgres, O, Held>;

/// A connection that `transaction_on` can run on: a plain one, or one of a pool.
pub type Held<'a> = held::Held<'a, Postgres>;

txsafe::__tx_methods!(async Tx on Driver reads Row);
txsafe::__transact!(Tx on Driver by Transact);

impl Rules for Postgres {
    const DIALECT: &'static dyn Dialect = &txsafe::driver::Postgres;
    const ABORTS: bool = true;

    fn leaves_transaction(sql: &str) -> bool {
        leaves_transaction(sql)
    }

    fn failure_of(error: &SqlxError) -> Failure {
        failure_of(error)
    }

    fn show_binds(arguments: &PgArguments) -> String {
        shown(arguments)
    }

    fn nth_bind(shown: &str, n: usize) -> Option<BindKey> {
        nth_bind(shown, n)
    }

    fn may_change_limits(sql: &str) -> bool {
        may_change_limits(sql)
    }

    #[inline]
    fn known_limits(conn: &mut PgConnection) -> BoxFuture<'_, Result<Known, SqlxError>> {
        Box::pin(limits::known_of(conn))
    }

    fn set_limits(place: Place, limits: Option<Limits>) {
        match limits {
            Some(limits) => limits::keep(place, limits),
            None => limits::forget(place),
        }
    }

    #[inline]
    fn begin<'e>(
        conn: &'e mut PgConnection,
        begin: &'e Begin,
        _limits: Option<Limits>,
    ) -> BoxFuture<'e, Result<Begun, SqlxError>> {
        Box::pin(async {
            if begin.is_bare() {
                Manager::begin(conn, Some(AssertSqlSafe(begin.sql()).into_sql_str())).await?;
            } else {
                begin_noticing(conn, begin.sql()).await?;
            }
            Ok(Begun { before_commit: before_commit(begin), ..Begun::default() })
        })
    }

    #[inline]
    fn ask<'e>(
        conn: &'e mut PgConnection,
        question: Question<'e>,
    ) -> BoxFuture<'e, Result<Option<String>, SqlxError>> {
        Box::pin(async move {
            let row = conn.fetch_optional(AssertSqlSafe(question.inlined())).await?;
            row.map_or(Ok(None), |row| row.try_get("answer"))
        })
    }

    /// Nothing is cancelled when the time is up: a server that works on COMMIT doesn't look at its client, and one that never
    /// got it rolls back.
    #[inline]
    fn commit<'e>(
        conn: &'e mut PgConnection,
        begun: &'e Begun,
        alarm: &'e Alarm,
        patience: Duration,
    ) -> BoxFuture<'e, Result<(), Failure>> {
        Box::pin(async move {
            let answered = alarm.within(patience, commit(conn, &begun.before_commit)).await;
            answered.unwrap_or_else(|_elapsed| Err(Failure::no_answer("COMMIT", patience)))
        })
    }

    /// Settings end with their transaction.
    #[inline]
    fn restore_unawaited(_conn: &mut PgConnection, _begun: &Begun) {}

    /// The empty transaction that CHAIN has begun.
    #[inline]
    fn finish<'e>(
        conn: &'e mut PgConnection,
        _begun: &'e Begun,
    ) -> BoxFuture<'e, Result<(), SqlxError>> {
        Box::pin(Manager::commit(conn))
    }

    #[inline]
    fn rollback<'e>(
        conn: &'e mut PgConnection,
        _begun: &'e Begun,
    ) -> BoxFuture<'e, Result<(), SqlxError>> {
        Box::pin(Manager::rollback(conn))
    }

    #[inline]
    fn run(conn: &mut PgConnection, sql: String) -> BoxFuture<'_, Result<(), SqlxError>> {
        Box::pin(async move { conn.execute(AssertSqlSafe(sql)).await.map(drop) })
    }

    /// SQLx knows of those that it began itself. Of others the server's clock tells: a statement outside of a transaction begins
    /// when its own does. Source: PostgreSQL manual, section 9.9.5, "Current Date/Time".
    #[inline]
    fn is_in_transaction(conn: &mut PgConnection) -> BoxFuture<'_, Result<bool, Failure>> {
        Box::pin(async move {
            if Manager::get_transaction_depth(conn) > 0 {
                return Ok(true);
            }
            // One simple query: a prepared one is several messages, each with a time of its own.
            let asked = conn.fetch_one("SELECT now() < statement_timestamp()").await;
            match asked.and_then(|row| row.try_get(0)) {
                Ok(is_open) => Ok(is_open),
                Err(error) => match of_request::<Postgres>(&error) {
                    failure if failure.is_lost() => Err(failure),
                    // An aborted one refuses questions.
                    _ => Ok(true),
                },
            }
        })
    }

    fn call<'t, O: LockOrder, Held>(
        tx: &'t mut Tx<'_, O, Held>,
        call: LockCall,
    ) -> BoxFuture<'t, Result<Option<String>, Error>> {
        Box::pin(async move {
            let query = sqlx::query_scalar(AssertSqlSafe(call.sql())).bind(call.parameter());
            let answer = query.fetch_optional(tx).await.map_err(|error| failure_of(&error))?;
            Ok(answer.flatten())
        })
    }
}

impl<T: Row> Reads<T> for Driver {
    fn read<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
        statement: LockStatement,
    ) -> BoxFuture<'t, Result<Vec<T>, Error>> {
        Box::pin(async move {
            let sql = format!("SELECT *{}$1{}", statement.from(), statement.rest());
            let query = sqlx::query_as(AssertSqlSafe(sql)).bind(statement.keys());
            query.fetch_all(tx).await.map_err(|error| failure_of(&error).into())
        })
    }
}

impl Asks for Driver {
    fn rows<'t, O: LockOrder, Held>(
        tx: &'t mut <Self as Locks>::Tx<'_, O, Held>,
        ask: &'t Ask,
    ) -> BoxFuture<'t, Result<Rows, Error>> {
        Box::pin(async move {
            let mut query = sqlx::query_scalar(AssertSqlSafe(ask.sql()));
            for bind in ask.binds() {
                query = query.bind(bind);
            }
            query.fetch_all(tx).await.map_err(|error| failure_of(&error).into())
        })
    }
}

impl<'a> From<&'a mut PgConnection> for Held<'a> {
    fn from(conn: &'a mut PgConnection) -> Self {
        Self::plain(conn)
    }
}

/// Begins a transaction in which the server looks after its client while a statement is running.
///
/// SQLx can't cancel a statement, and a server notices a closed connection only after the one it works on: a caller
/// that goes away would leave its locks behind for as long. With this setting it notices within a tenth of a second.
/// Source: PostgreSQL manual, section 20.3.2, "TCP Settings".
async fn begin_noticing(conn: &mut PgConnection, sql: &str) -> Result<(), SqlxError> {
    /// Some server runs on a system where it can't look.
    static CANNOT_LOOK: AtomicBool = AtomicBool::new(false);
    let mut refused = false;
    if !CANNOT_LOOK.load(Ordering::Relaxed) {
        let noticing = format!("{sql}; SET LOCAL client_connection_check_interval = 100");
        match Manager::begin(conn, Some(AssertSqlSafe(noticing).into_sql_str())).await {
            Err(SqlxError::Database(error)) if error.code().as_deref() == Some("22023") => {
                conn.execute("ROLLBACK").await?;
                refused = true;
            }
            begun => return begun,
        }
    }
    Manager::begin(conn, Some(AssertSqlSafe(sql).into_sql_str())).await?;
    CANNOT_LOOK.fetch_or(refused, Ordering::Relaxed);
    Ok(())
}

/// What COMMIT's message says.
///
/// CHAIN, because SQLx counts transactions by its own calls, and has none for a COMMIT in a message of ours: the empty
/// transaction that is left is ended by such a call, after the caller has its answer. In a transaction that is aborted
/// SET fails, and where none is open CHAIN does. Where nothing may be set, a savepoint fails in both.
fn before_commit(begin: &Begin) -> String {
    let mut sql = String::with_capacity(128);
    match &*begin.before_commit() {
        "" => sql.push_str("SAVEPOINT txsafe"),
        before => sql.push_str(before),
    }
    sql.push_str("; COMMIT AND CHAIN");
    sql
}

/// COMMIT, wherever it runs.
async fn commit(conn: &mut PgConnection, sql: &str) -> Result<(), Failure> {
    let Err(error) = conn.execute(AssertSqlSafe(sql.to_owned())).await else { return Ok(()) };
    let failure = of_request::<Postgres>(&error).with_statement(Some("COMMIT".into()));
    if !failure.is_lost() {
        // What is left of the transaction is ended, for SQLx's own count too. The server may have ended it already, and
        // would warn of a ROLLBACK without one. If this fails, the connection is closed.
        let _ = conn.execute("BEGIN").await;
        let _ = Manager::rollback(conn).await;
    }
    Err(failure)
}

/// The failure behind one of SQLx's errors: what it is, in the words that reports and [`TxOptions`](crate::TxOptions) have.
///
/// # Examples
/// When attempts are used up the caller gets the error of its closure, which may be SQLx's:
/// ```
/// use txsafe_sqlx::{Cause, Phase, failure_of};
///
/// fn is_worth_another_request(error: &sqlx::Error) -> bool {
///     Cause::of(&failure_of(error), Phase::Body).is_transient()
/// }
///
/// assert!(!is_worth_another_request(&sqlx::Error::RowNotFound));
/// assert!(is_worth_another_request(&std::io::Error::other("connection reset by peer").into()));
/// ```
#[must_use]
pub fn failure_of(error: &SqlxError) -> Failure {
    if let Some(failure) = failure_behind(error) {
        return failure.clone();
    }
    match error {
        SqlxError::Database(database) => match database.try_downcast_ref::<PgDatabaseError>() {
            Some(server) => of_server(server),
            None => Failure::local(error.to_string()),
        },
        SqlxError::Io(error) => Failure::lost(None, error.to_string()),
        // Everything else is about the query, its bind values or the rows: the transaction goes on.
        error => Failure::local(error.to_string()),
    }
}

fn of_server(error: &PgDatabaseError) -> Failure {
    let Some(code) = SqlState::new(error.code()) else {
        return Failure::local(error.message());
    };
    let is_fatal = matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic);
    Failure::of_response(code, is_fatal, error.routine(), error.message()).with_fields(
        ErrorFields {
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
            table: error.table().map(str::to_owned),
            column: error.column().map(str::to_owned),
            constraint: error.constraint().map(str::to_owned),
        },
    )
}
