//! A connection while it runs one attempt.
//!
//! What owns a pool's connection is `inline`: dropping one compiles how SQLx connects, and the service that is linked in
//! the end has compiled that already. So this crate compiles a tenth of what it would.

use crate::{
    checkout::checkout,
    engine::{
        Conn, Engine, Manager,
        sealed::{Begun, Place},
    },
    failure::of_request,
    held::Held,
    observed::Observed,
    tx::{Parts, Tx},
};
use sqlx::{Connection as _, Pool, pool::PoolConnection};
use sqlx_core::transaction::TransactionManager;
use std::{fmt, sync::Arc, time::Duration};
use tokio::{runtime::Handle, sync::oneshot, task::spawn_blocking};
use txsafe::{
    Failure,
    driver::{
        Account, Alarm, AsyncHook, AsyncSession, Begin, Connection as Watched, Holding, Limits,
        Notes, OwnedSession, Question, SessionOptions, Slot, Standing, UNREAD_ROWS, to_the_end,
    },
};

/// A connection while it runs one attempt. Dropped before [`give_back`](AsyncSession::give_back), it is closed.
pub struct Session<'a, DB: Engine> {
    lease: Lease<'a, DB>,
    observed: Observed<DB>,
    account: Account<AsyncHook>,
    alarm: Arc<Alarm>,
    answer_timeout: Duration,
    lock_timeout: Duration,
    /// Where the session's own limits are remembered.
    place: Option<Place>,
    limits: Option<Limits>,
    begun: Begun,
    /// COMMIT was answered, and something of it is to be ended.
    is_committed: bool,
    /// Where SQLx's pool spawns what it does for a connection that is closed, wherever that happens.
    runtime: Option<Handle>,
}

/// Whose connection it is.
enum Lease<'a, DB: Engine> {
    Pooled(PoolConnection<DB>),
    Held(Held<'a, DB>, Arc<Slot<Held<'a, DB>>>),
    /// Given back, or moved to where COMMIT runs.
    Gone,
}

impl<'a, DB: Engine> Session<'a, DB> {
    /// On a connection of the pool.
    pub(crate) async fn checkout(
        pool: &Pool<DB>,
        options: SessionOptions,
    ) -> Result<Self, Failure> {
        let alarm = Arc::default();
        let conn = checkout(pool, &alarm, options).await?;
        Ok(Self::new(Lease::Pooled(conn), alarm, options))
    }

    /// On the caller's connection.
    #[inline]
    pub(crate) fn on_held(
        held: Held<'a, DB>,
        slot: Arc<Slot<Held<'a, DB>>>,
        options: SessionOptions,
    ) -> Self {
        Self::new(Lease::Held(held, slot), Arc::default(), options)
    }

    #[inline]
    fn new(lease: Lease<'a, DB>, alarm: Arc<Alarm>, options: SessionOptions) -> Self {
        Self {
            lease,
            observed: Observed::new(&Notes::default(), Arc::default()),
            account: Account::new(),
            alarm,
            answer_timeout: options.answer_timeout,
            lock_timeout: options.lock_timeout,
            place: None,
            limits: None,
            begun: Begun::default(),
            is_committed: false,
            runtime: Handle::try_current().ok(),
        }
    }

    /// Reads rows that nobody wants to their end. SQLx reads for as long as they come, without a pause, and blocks its thread and the
    /// thread's timers; so this runs on a blocking thread. If `patience` ends first, that thread closes the connection once the rows
    /// end. With no patience, the connection is closed at once.
    async fn read_rows(&mut self, patience: Duration) {
        let Lease::Pooled(mut conn) = std::mem::replace(&mut self.lease, Lease::Gone) else {
            return;
        };
        if patience.is_zero() {
            // Nobody waits for the rows: closing the connection ends them now.
            drop(conn.detach());
            return;
        }
        let (sender, read) = oneshot::channel();
        let runtime = Handle::current();
        spawn_blocking(move || {
            let answer = runtime.block_on(conn.ping());
            if let Err((conn, _)) = sender.send((conn, answer)) {
                let _runtime = runtime.enter();
                drop(conn.detach());
            }
        });
        let Ok(Ok((conn, answer))) = self.alarm.within(patience, read).await else { return };
        self.lease = Lease::Pooled(conn);
        match answer {
            Ok(()) => self.observed.finished(),
            Err(error) => self.observed.failed(&error),
        }
    }

    /// The transaction that the closure works with.
    pub(crate) fn tx<O>(&mut self) -> Tx<'_, DB, O> {
        Tx::new(self.parts())
    }

    fn parts(&mut self) -> Parts<'_, DB> {
        let Self { lease, observed, account, .. } = self;
        Parts { conn: lease.connection(), account, seen: observed }
    }
}

impl<DB: Engine> OwnedSession<Conn<DB>, AsyncHook, Observed<DB>, Self> for Session<'static, DB> {
    fn connection(&self) -> &Conn<DB> {
        match &self.lease {
            Lease::Pooled(conn) => conn,
            Lease::Held(..) | Lease::Gone => unreachable!("it is a pool's, until it ends"),
        }
    }

    fn parts(&mut self) -> Parts<'_, DB> {
        Session::parts(self)
    }

    fn transaction(&self) -> &Arc<str> {
        &self.account.transaction
    }

    #[inline]
    fn into_session(self: Box<Self>) -> Self {
        *self
    }
}

impl<DB: Engine> AsyncSession for Session<'_, DB> {
    async fn known_limits(&mut self) -> Result<Option<Limits>, Failure> {
        let Lease::Pooled(conn) = &mut self.lease else {
            // Whoever holds it may have changed them.
            return Ok(None);
        };
        match self.alarm.within(self.answer_timeout, DB::known_limits(conn)).await {
            Ok(Ok(known)) => {
                (self.place, self.limits) = (known.place, known.limits);
                Ok(known.limits)
            }
            Ok(Err(error)) => match of_request::<DB>(&error) {
                failure if failure.is_lost() => Err(failure),
                _ => Ok(None),
            },
            Err(_elapsed) => Err(Failure::no_answer("a question", self.answer_timeout)),
        }
    }

    fn keep_limits(&mut self, limits: Limits) {
        self.limits = Some(limits);
        self.place.into_iter().for_each(|place| DB::set_limits(place, Some(limits)));
    }

    async fn begin(&mut self, begin: &Begin) -> Result<(), Failure> {
        // Where BEGIN takes a lock, it waits for that besides.
        let sessions = self.limits.and_then(|limits| limits.lock_timeout).unwrap_or_default();
        let patience = self.answer_timeout
            + if DB::ABORTS { Duration::ZERO } else { self.lock_timeout.max(sessions) };
        let begun = DB::begin(self.lease.connection(), begin, self.limits);
        match self.alarm.within(patience, begun).await {
            Ok(Ok(begun)) => {
                self.begun = begun;
                let calls = Arc::clone(self.observed.calls());
                self.observed = Observed::new(&self.account.notes, calls);
                Ok(())
            }
            Ok(Err(error)) => Err(of_request::<DB>(&error)),
            Err(_elapsed) => Err(Failure::no_answer("BEGIN", patience)),
        }
    }

    async fn ask(&mut self, question: Question<'_>) -> Result<Option<String>, Failure> {
        let calls = Arc::clone(self.observed.calls());
        let asked = calls.waiting(DB::ask(self.lease.connection(), question));
        let answered = self.alarm.within(self.answer_timeout, asked).await;
        self.observed.answered();
        let failure = match answered {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => of_request::<DB>(&error),
            Err(_elapsed) => Failure::no_answer("a question", self.answer_timeout),
        };
        self.observed.note(failure.clone());
        Err(failure)
    }

    async fn settle(&mut self, patience: Duration) -> Standing {
        if self.observed.has_unread_rows() && matches!(self.lease, Lease::Pooled(_)) {
            self.read_rows(patience.min(UNREAD_ROWS)).await;
            if matches!(self.lease, Lease::Gone) {
                self.account.trail = self.observed.take_trail();
                return self.observed.standing(0);
            }
        }
        let conn = self.lease.connection();
        // Whether it settled or not, what is known tells how things stand.
        let _ = self.alarm.within(patience, settle(conn, &mut self.observed)).await;
        if !DB::ABORTS && self.observed.is_unsure() {
            // A transaction of SQLx's own that was dropped is rolled back on the connection's thread, and counted then.
            let _ = self.alarm.within(patience, self.lease.connection().ping()).await;
        }
        self.account.trail = self.observed.take_trail();
        if self.observed.may_have_changed_limits() {
            self.place.into_iter().for_each(|place| DB::set_limits(place, None));
        }
        self.observed.standing(depth::<DB>(self.lease.connection()))
    }

    fn is_unsure(&mut self) -> bool {
        self.observed.is_unsure()
    }

    async fn commit(&mut self, patience: Duration) -> Result<(), Failure> {
        let (begun, alarm) = (self.begun.clone(), Arc::clone(&self.alarm));
        let answer = match std::mem::replace(&mut self.lease, Lease::Gone) {
            Lease::Pooled(mut conn) => {
                let finish = async move {
                    let answer = DB::commit(&mut conn, &begun, &alarm, patience).await;
                    ((conn, begun), answer)
                };
                let ((conn, _), answer) =
                    to_the_end(&mut self.account, finish, release::<DB>).await;
                self.lease = Lease::Pooled(conn);
                answer
            }
            lease => {
                self.lease = lease;
                DB::commit(self.lease.connection(), &begun, &alarm, patience).await
            }
        };
        self.is_committed = answer.is_ok();
        if answer.is_ok() && matches!(self.lease, Lease::Held(..)) {
            // The caller will use the connection; if this fails, its next statement does.
            let finished = DB::finish(self.lease.connection(), &self.begun);
            let _ = self.alarm.within(self.answer_timeout, finished).await;
        }
        answer
    }

    async fn rollback(&mut self) -> Result<(), Failure> {
        let conn = self.lease.connection();
        if depth::<DB>(conn) != 1 {
            return Err(Failure::local("a savepoint is open"));
        }
        match self.alarm.within(self.answer_timeout, DB::rollback(conn, &self.begun)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(of_request::<DB>(&error)),
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
            Lease::Pooled(conn) if self.is_committed => {
                let holding = self.account.take_holding();
                finish::<DB>(conn, std::mem::take(&mut self.begun), holding);
            }
            // Dropping it returns it to the pool.
            Lease::Pooled(_) => {}
            Lease::Gone => {}
            Lease::Held(held, slot) => slot.put_back(held),
        }
    }
}

impl<DB: Engine> Drop for Session<'_, DB> {
    /// In doubt: the connection is closed, now. The server notices at once, or while a statement is running soon.
    #[inline]
    fn drop(&mut self) {
        let _inside = self.runtime.as_ref().map(Handle::enter);
        match std::mem::replace(&mut self.lease, Lease::Gone) {
            Lease::Gone => {}
            Lease::Pooled(conn) => drop(conn.detach()),
            Lease::Held(mut held, slot) => {
                let conn = held.connection();
                // One more than there are: SQLx leaves the first one out behind a savepoint that was given up.
                for _ in 0..=depth::<DB>(conn) {
                    Manager::<DB>::start_rollback(conn);
                }
                DB::restore_unawaited(conn, &self.begun);
                held.set_in_doubt();
                slot.put_back(held);
            }
        }
    }
}

impl<DB: Engine> Lease<'_, DB> {
    fn connection(&mut self) -> &mut Conn<DB> {
        match self {
            Self::Pooled(conn) => conn,
            Self::Held(held, _) => held.connection(),
            Self::Gone => unreachable!("a session ends when its connection goes"),
        }
    }
}

impl<DB: Engine> fmt::Debug for Session<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("observed", &self.observed).finish_non_exhaustive()
    }
}

/// Waits for the end of a statement that its caller dropped.
pub(crate) async fn settle<DB: Engine>(conn: &mut Conn<DB>, observed: &mut Observed<DB>) {
    if !DB::ABORTS && observed.has_abandoned() {
        // Nobody tells whether it failed.
        let answered = conn.ping().await;
        observed.given_up();
        return answered.unwrap_or_else(|error| observed.saw(&error));
    }
    while observed.has_abandoned() {
        let calls = Arc::clone(observed.calls());
        // Answers come in order, and an error among those that nobody waited for is told here.
        match calls.waiting(conn.ping()).await {
            Ok(()) => observed.finished(),
            Err(error) => observed.failed(&error),
        }
    }
}

/// COMMIT came to its answer. The connection goes back to its pool, after what is left of it has ended.
#[inline]
fn release<DB: Engine>((conn, begun): (PoolConnection<DB>, Begun), is_committed: bool) {
    if is_committed {
        finish::<DB>(conn, begun, None);
    } else {
        drop(conn.detach());
    }
}

/// Ends what is left of a transaction behind its COMMIT, which holds the connection until then.
#[inline]
fn finish<DB: Engine>(mut conn: PoolConnection<DB>, begun: Begun, holding: Option<Holding>) {
    tokio::spawn(async move {
        match DB::finish(&mut conn, &begun).await {
            Ok(()) => drop(conn),
            Err(_) => drop(conn.detach()),
        }
        drop(holding);
    });
}

/// How many savepoints SQLx counts, the transaction included.
pub(crate) fn depth<DB: Engine>(conn: &Conn<DB>) -> usize {
    Manager::<DB>::get_transaction_depth(conn)
}
