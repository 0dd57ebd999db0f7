//! A connection while it runs one attempt.
//!
//! What owns a pool's connection is `inline`: dropping one compiles how SQLx connects, and the service that is linked in
//! the end has compiled that already. So this crate compiles a tenth of what it would.

use crate::{failure::of_request, held::Held, observed::Observed, tx::Tx};
use sqlx::{
    AssertSqlSafe, Connection, Error as SqlxError, Executor, PgConnection, Postgres, Row,
    SqlSafeStr, pool::PoolConnection, postgres::PgTransactionManager,
};
use sqlx_core::transaction::TransactionManager;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use txsafe::{
    Failure,
    driver::{
        Account, Alarm, AsyncHook, AsyncSession, Begin, Connection as Watched, Notes, Question,
        SessionOptions, Slot, Standing, to_the_end,
    },
};

pub(crate) type Manager = PgTransactionManager;

/// A connection while it runs one attempt. Dropped before [`give_back`](AsyncSession::give_back), it is closed.
pub struct Session<'a> {
    lease: Lease<'a>,
    observed: Observed,
    account: Account<AsyncHook>,
    alarm: Arc<Alarm>,
    answer_timeout: Duration,
    /// What COMMIT's message says first.
    before_commit: String,
    /// COMMIT has left an empty transaction.
    is_chained: bool,
}

/// Whose connection it is.
enum Lease<'a> {
    Pooled(PoolConnection<Postgres>),
    Held(Held<'a>, Arc<Slot<Held<'a>>>),
    /// Given back, or moved to where COMMIT runs.
    Gone,
}

impl<'a> Session<'a> {
    #[inline]
    pub(crate) fn pooled(
        conn: PoolConnection<Postgres>,
        alarm: Arc<Alarm>,
        options: SessionOptions,
    ) -> Self {
        Self::new(Lease::Pooled(conn), alarm, options)
    }

    /// On the caller's connection.
    #[inline]
    pub(crate) fn on_held(
        held: Held<'a>,
        slot: Arc<Slot<Held<'a>>>,
        options: SessionOptions,
    ) -> Self {
        Self::new(Lease::Held(held, slot), Arc::default(), options)
    }

    #[inline]
    fn new(lease: Lease<'a>, alarm: Arc<Alarm>, options: SessionOptions) -> Self {
        Self {
            lease,
            observed: Observed::new(&Notes::default(), Arc::default()),
            account: Account::new(),
            alarm,
            answer_timeout: options.answer_timeout,
            before_commit: String::new(),
            is_chained: false,
        }
    }

    /// The transaction that the closure works with.
    pub(crate) fn tx<O>(&mut self) -> Tx<'_, O> {
        let Self { lease, observed, account, .. } = self;
        Tx::new(lease.connection(), account, observed)
    }
}

impl AsyncSession for Session<'_> {
    async fn begin(&mut self, begin: &Begin) -> Result<(), Failure> {
        let patience = self.answer_timeout;
        self.before_commit = before_commit(begin);
        let begun = begin_noticing(self.lease.connection(), begin.sql());
        match self.alarm.within(patience, begun).await {
            Ok(Ok(())) => {
                let calls = Arc::clone(self.observed.calls());
                self.observed = Observed::new(&self.account.notes, calls);
                Ok(())
            }
            Ok(Err(error)) => Err(of_request(&error)),
            Err(_elapsed) => Err(Failure::no_answer("BEGIN", self.answer_timeout)),
        }
    }

    async fn ask(&mut self, question: Question<'_>) -> Result<Option<String>, Failure> {
        let sql = question.inlined();
        let asked = self.lease.connection().fetch_optional(AssertSqlSafe(sql));
        let failure = match self.alarm.within(self.answer_timeout, asked).await {
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(row))) => match row.try_get("answer") {
                Ok(answer) => return Ok(answer),
                Err(error) => of_request(&error),
            },
            Ok(Err(error)) => of_request(&error),
            Err(_elapsed) => Failure::no_answer("a question", self.answer_timeout),
        };
        self.observed.note(failure.clone());
        Err(failure)
    }

    async fn settle(&mut self, patience: Duration) -> Standing {
        let conn = self.lease.connection();
        // Whether it settled or not, what is known tells how things stand.
        let _ = self.alarm.within(patience, settle(conn, &mut self.observed)).await;
        self.account.trail = self.observed.take_trail();
        self.observed.standing(Manager::get_transaction_depth(self.lease.connection()))
    }

    fn is_unsure(&mut self) -> bool {
        self.observed.is_unsure()
    }

    async fn commit(&mut self, patience: Duration) -> Result<(), Failure> {
        let sql = std::mem::take(&mut self.before_commit);
        let answer = match std::mem::replace(&mut self.lease, Lease::Gone) {
            Lease::Pooled(mut conn) => {
                let alarm = Arc::clone(&self.alarm);
                let finish = async move {
                    let answer = commit_within(&alarm, patience, &mut conn, sql).await;
                    (conn, answer)
                };
                let (conn, answer) = to_the_end(&mut self.account, finish, release).await;
                self.lease = Lease::Pooled(conn);
                answer
            }
            lease => {
                self.lease = lease;
                commit_within(&self.alarm, patience, self.lease.connection(), sql).await
            }
        };
        self.is_chained = answer.is_ok();
        if answer.is_ok() && matches!(self.lease, Lease::Held(..)) {
            // The caller will use the connection; if this fails, its next statement does.
            let ended = Manager::commit(self.lease.connection());
            let _ = self.alarm.within(self.answer_timeout, ended).await;
        }
        answer
    }

    async fn rollback(&mut self) -> Result<(), Failure> {
        let conn = self.lease.connection();
        if Manager::get_transaction_depth(conn) != 1 {
            return Err(Failure::local("a savepoint is open"));
        }
        match self.alarm.within(self.answer_timeout, Manager::rollback(conn)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(of_request(&error)),
            Err(_elapsed) => Err(Failure::no_answer("ROLLBACK", self.answer_timeout)),
        }
    }

    fn account(&mut self) -> &mut Account<AsyncHook> {
        &mut self.account
    }

    fn connection(&self) -> Arc<dyn Watched> {
        Arc::clone(self.observed.calls()) as Arc<dyn Watched>
    }

    #[inline]
    fn give_back(mut self) {
        match std::mem::replace(&mut self.lease, Lease::Gone) {
            Lease::Pooled(conn) if self.is_chained => release(conn, true),
            // Dropping it returns it to the pool.
            Lease::Pooled(_) => {}
            Lease::Gone => {}
            Lease::Held(held, slot) => slot.put_back(held),
        }
    }
}

impl Drop for Session<'_> {
    /// In doubt: the connection is closed, now. The server notices at once, or while a statement is running soon.
    #[inline]
    fn drop(&mut self) {
        match std::mem::replace(&mut self.lease, Lease::Gone) {
            Lease::Gone => {}
            Lease::Pooled(conn) => drop(conn.detach()),
            Lease::Held(mut held, slot) => {
                let conn = held.connection();
                while Manager::get_transaction_depth(conn) > 0 {
                    Manager::start_rollback(conn);
                }
                held.set_in_doubt();
                slot.put_back(held);
            }
        }
    }
}

impl Lease<'_> {
    fn connection(&mut self) -> &mut PgConnection {
        match self {
            Self::Pooled(conn) => conn,
            Self::Held(held, _) => held.connection(),
            Self::Gone => unreachable!("a session ends when its connection goes"),
        }
    }
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("observed", &self.observed).finish_non_exhaustive()
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

/// Waits for the end of a statement that its caller dropped.
pub(crate) async fn settle(conn: &mut PgConnection, observed: &mut Observed) {
    while observed.has_abandoned() {
        let calls = Arc::clone(observed.calls());
        // Answers come in order, and an error among those that nobody waited for is told here.
        match calls.waiting(conn.ping()).await {
            Ok(()) => observed.finished(),
            Err(error) => observed.failed(&error),
        }
    }
}

/// What COMMIT's message says.
///
/// CHAIN, because SQLx counts transactions by its own calls, and has none for a COMMIT in a message of ours: the empty
/// transaction that is left is ended by such a call, after the caller has its answer. In a transaction that is aborted
/// SET fails, and where none is open CHAIN does.
fn before_commit(begin: &Begin) -> String {
    let mut sql = String::with_capacity(128);
    sql.push_str(&begin.before_commit());
    sql.push_str("; COMMIT AND CHAIN");
    sql
}

/// COMMIT, whose answer is waited for at most for `patience`. Then the connection is closed, and nothing is cancelled: a
/// server that works on COMMIT doesn't look at its client, and one that never got it rolls back.
async fn commit_within(
    alarm: &Alarm,
    patience: Duration,
    conn: &mut PgConnection,
    sql: String,
) -> Result<(), Failure> {
    let answered = alarm.within(patience, commit(conn, sql)).await;
    answered.unwrap_or_else(|_elapsed| Err(Failure::no_answer("COMMIT", patience)))
}

/// COMMIT, wherever it runs.
async fn commit(conn: &mut PgConnection, sql: String) -> Result<(), Failure> {
    let Err(error) = conn.execute(AssertSqlSafe(sql)).await else { return Ok(()) };
    let failure = of_request(&error).with_statement(Some("COMMIT".into()));
    if !failure.is_lost() {
        // What is left of the transaction is ended, for SQLx's own count too. The server may have ended it already, and
        // would warn of a ROLLBACK without one. If this fails, the connection is closed.
        let _ = conn.execute("BEGIN").await;
        let _ = Manager::rollback(conn).await;
    }
    Err(failure)
}

/// COMMIT came to its answer. The connection goes back to its pool, after the empty transaction has ended.
#[inline]
fn release(mut conn: PoolConnection<Postgres>, is_committed: bool) {
    if !is_committed {
        drop(conn.detach());
        return;
    }
    tokio::spawn(async move {
        match Manager::commit(&mut conn).await {
            Ok(()) => drop(conn),
            Err(_) => drop(conn.detach()),
        }
    });
}
