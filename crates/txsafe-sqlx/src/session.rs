//! A connection while it runs one attempt.

use crate::{failure::of_sqlx, held::Held, observed::Observed, tx::Tx};
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
    decide::{begin::Begin, settings::Settings},
    drive::{
        account::{Account, Notes},
        alarm::Alarm,
        driver::Slot,
        hooks::AsyncHook,
        session::{AsyncSession, Question, Standing},
        shield::to_the_end,
    },
    guard::connection::Connection as Watched,
};

pub(crate) type Manager = PgTransactionManager;

/// A connection while it runs one attempt. Dropped before [`give_back`](AsyncSession::give_back), it is closed.
pub struct Session<'a> {
    lease: Lease<'a>,
    observed: Observed,
    account: Account<AsyncHook>,
    alarm: Arc<Alarm>,
    answer_timeout: Duration,
    /// How COMMIT was sent.
    committed: Option<Commit>,
}

/// Whose connection it is.
enum Lease<'a> {
    Pooled(PoolConnection<Postgres>),
    Held(Held<'a>, Arc<Slot<Held<'a>>>),
    /// Given back, or moved to where COMMIT runs.
    Gone,
}

impl<'a> Session<'a> {
    pub(crate) fn pooled(
        conn: PoolConnection<Postgres>,
        alarm: Arc<Alarm>,
        settings: &Settings,
    ) -> Self {
        Self::new(Lease::Pooled(conn), alarm, settings)
    }

    /// On the caller's connection.
    pub(crate) fn on_held(held: Held<'a>, slot: Arc<Slot<Held<'a>>>, settings: &Settings) -> Self {
        Self::new(Lease::Held(held, slot), Arc::default(), settings)
    }

    fn new(lease: Lease<'a>, alarm: Arc<Alarm>, settings: &Settings) -> Self {
        Self {
            lease,
            observed: Observed::new(&Notes::default(), Arc::default()),
            account: Account::new(),
            alarm,
            answer_timeout: settings.answer_timeout(),
            committed: None,
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
        let begun = begin_noticing(self.lease.connection(), begin.sql());
        match self.alarm.within(patience, begun).await {
            Ok(Ok(())) => {
                let calls = Arc::clone(self.observed.calls());
                self.observed = Observed::new(&self.account.notes, calls);
                Ok(())
            }
            Ok(Err(error)) => Err(of_sqlx(&error)),
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
                Err(error) => of_sqlx(&error),
            },
            Ok(Err(error)) => of_sqlx(&error),
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

    async fn commit(&mut self) -> Result<(), Failure> {
        let commit = Commit {
            asks: self.observed.is_unsure(),
            alarm: Arc::clone(&self.alarm),
            patience: self.answer_timeout,
        };
        match std::mem::replace(&mut self.lease, Lease::Gone) {
            Lease::Pooled(mut conn) => {
                let account = std::mem::take(&mut self.account);
                let finish = async move {
                    let answer = commit.run(&mut conn).await;
                    (conn, account, commit, answer)
                };
                let (conn, account, commit, answer) = to_the_end(finish, orphaned).await;
                self.account = account;
                self.lease = Lease::Pooled(conn);
                self.committed = Some(commit).filter(|_| answer.is_ok());
                answer
            }
            lease => {
                self.lease = lease;
                let conn = self.lease.connection();
                commit.run(conn).await?;
                // The caller will use the connection; if this fails, its next statement does.
                let _ = commit.alarm.within(commit.patience, commit.end_chained(conn)).await;
                Ok(())
            }
        }
    }

    async fn rollback(&mut self) -> Result<(), Failure> {
        let conn = self.lease.connection();
        if Manager::get_transaction_depth(conn) != 1 {
            return Err(Failure::local("a savepoint is open"));
        }
        match self.alarm.within(self.answer_timeout, Manager::rollback(conn)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(of_sqlx(&error)),
            Err(_elapsed) => Err(Failure::no_answer("ROLLBACK", self.answer_timeout)),
        }
    }

    fn account(&mut self) -> &mut Account<AsyncHook> {
        &mut self.account
    }

    fn connection(&self) -> Arc<dyn Watched> {
        Arc::clone(self.observed.calls()) as Arc<dyn Watched>
    }

    fn give_back(mut self) {
        match std::mem::replace(&mut self.lease, Lease::Gone) {
            Lease::Pooled(conn) => match self.committed.take() {
                Some(commit) if commit.asks => drop(tokio::spawn(commit.give_back(conn))),
                // Dropping it returns it to the pool.
                Some(_) | None => {}
            },
            Lease::Gone => {}
            Lease::Held(held, slot) => slot.put_back(held),
        }
    }
}

impl Drop for Session<'_> {
    /// In doubt: the connection is closed, now. The server notices at once, or while a statement is running soon.
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

/// COMMIT, wherever it runs.
struct Commit {
    /// Something ran unseen: COMMIT is to fail, and not to roll back in silence, if that aborted the transaction or
    /// ended it. SAVEPOINT fails in either case.
    ///
    /// CHAIN, because SQLx would count an ended transaction as open, and only an end of its own corrects that: the empty
    /// transaction that is left is ended after the caller has its answer.
    asks: bool,
    alarm: Arc<Alarm>,
    patience: Duration,
}

impl Commit {
    async fn run(&self, conn: &mut PgConnection) -> Result<(), Failure> {
        let answer = if self.asks {
            let asked = conn.execute("SAVEPOINT txsafe; COMMIT AND CHAIN");
            self.alarm.within(self.patience, asked).await.map(|answer| answer.map(drop))
        } else {
            self.alarm.within(self.patience, Manager::commit(conn)).await
        };
        let Ok(answer) = answer else {
            return Err(Failure::no_answer("COMMIT", self.patience));
        };
        let Err(error) = answer else { return Ok(()) };
        let failure = of_sqlx(&error).with_statement(Some("COMMIT".into()));
        if !failure.is_lost() {
            // If that fails, the connection is found not to have ended its transaction, and is closed.
            let _ = self.alarm.within(self.patience, self.end_refused(conn)).await;
        }
        Err(failure)
    }

    /// The server refused COMMIT. What is left of the transaction is ended, for SQLx's own account too.
    async fn end_refused(&self, conn: &mut PgConnection) -> Result<(), SqlxError> {
        if self.asks {
            return Manager::rollback(conn).await;
        }
        // The server has ended it, and would warn of a ROLLBACK without a transaction.
        conn.execute("BEGIN").await?;
        Manager::start_rollback(conn);
        Ok(())
    }

    /// Ends the empty transaction that is left.
    async fn end_chained(&self, conn: &mut PgConnection) -> Result<(), SqlxError> {
        if self.asks { Manager::commit(conn).await } else { Ok(()) }
    }

    /// Returns the connection to its pool.
    async fn give_back(self, mut conn: PoolConnection<Postgres>) {
        match self.alarm.within(self.patience, self.end_chained(&mut conn)).await {
            Ok(Ok(())) => drop(conn),
            Ok(Err(_)) | Err(_) => drop(conn.detach()),
        }
    }
}

/// What is left when COMMIT has its answer.
type Answered = (PoolConnection<Postgres>, Account<AsyncHook>, Commit, Result<(), Failure>);

/// COMMIT came to its answer after its caller had gone away.
async fn orphaned((conn, account, commit, answer): Answered) {
    if answer.is_ok() {
        commit.give_back(conn).await;
    } else {
        drop(conn.detach());
    }
    account.conclude_abandoned(answer).await;
}
