//! A connection while it runs one attempt.
//!
//! What owns a connection is `inline`: the service that is linked in the end compiles it, and this crate doesn't as well.

use crate::{
    asked::Asked,
    checkout::checkout,
    commit_async::Commit,
    depth::{change_depth, depth},
    failure::lost_unless_refused,
    held::Held,
    observer::Observer,
    tx::{Parts, Tx},
    wire::link::Link,
};
use diesel::{connection::TransactionDepthChange, result::Error as DieselError};
use diesel_async::{
    AnsiTransactionManager, AsyncPgConnection, SimpleAsyncConnection, TransactionManager,
    pooled_connection::{
        PoolableConnection,
        deadpool::{Object, Pool},
    },
};
use futures_util::FutureExt;
use std::{
    fmt,
    sync::{Arc, Once},
    time::Duration,
};
use txsafe::{
    Failure,
    driver::{
        Account, AsyncHeld, AsyncHook, AsyncSession, Begin, Connection, Limits, OwnedSession,
        Question, SessionOptions, Slot, Standing, spawn, to_the_end,
    },
};

type Manager = AnsiTransactionManager;

/// A connection while it runs one attempt. Dropped before [`give_back`](AsyncSession::give_back), it is closed.
pub struct Session<'a> {
    lease: Lease<'a>,
    link: Arc<Link>,
    account: Account<AsyncHook>,
    answer_timeout: Duration,
    bind_values: bool,
    /// What COMMIT's message says first.
    before_commit: Arc<str>,
    /// COMMIT is on its way.
    committing: bool,
}

/// Whose connection it is.
enum Lease<'a> {
    /// Boxed: it is moved several times, and large.
    Pooled(Box<Object<AsyncPgConnection>>),
    Held(Held<'a>, Arc<Slot<Held<'a>>>),
    /// Given back, or moved to where COMMIT runs.
    Gone,
}

impl<'a> Session<'a> {
    /// On a connection of the pool.
    pub(crate) async fn checkout(
        pool: &Pool<AsyncPgConnection>,
        options: SessionOptions,
    ) -> Result<Self, Failure> {
        let mut object = Box::new(checkout(pool, options).await?);
        let link = link_of(&mut object)?;
        Ok(Self::new(Lease::Pooled(object), link, options))
    }

    /// On the caller's connection; one that was lost is replaced first, where that can be.
    pub(crate) async fn on_held(
        mut held: Held<'a>,
        slot: Arc<Slot<Held<'a>>>,
        options: SessionOptions,
    ) -> Result<Self, Failure> {
        let link = match link_of(held.connection()) {
            Ok(link) => link,
            Err(refused) => {
                slot.put_back(held);
                return Err(refused);
            }
        };
        let mut session = Self::new(Lease::Held(held, slot), link, options);
        let Lease::Held(held, _) = &mut session.lease else { unreachable!("made one line above") };
        if PoolableConnection::is_broken(held.connection()) && held.is_replaceable() {
            held.replace(options).await?;
            session.link = link_of(held.connection())?;
        }
        if is_in_transaction(&session.link, held.connection()).await? {
            session.give_back();
            return Err(Failure::in_transaction());
        }
        Ok(session)
    }

    #[inline]
    fn new(lease: Lease<'a>, link: Arc<Link>, options: SessionOptions) -> Self {
        Self {
            lease,
            link,
            account: Account::new(),
            answer_timeout: options.answer_timeout,
            bind_values: options.bind_values,
            before_commit: Arc::from(""),
            committing: false,
        }
    }

    /// The transaction that the closure works with.
    pub(crate) fn tx<O>(&mut self) -> Tx<'_, O> {
        Tx::new(self.parts())
    }

    fn parts(&mut self) -> Parts<'_> {
        let Self { lease, account, link, .. } = self;
        Parts { conn: lease.connection(), account, seen: link }
    }

    /// What went wrong with a request of ours, as the wire tells it, or as Diesel does.
    fn failure(&self, error: &DieselError) -> Failure {
        self.link.failure().unwrap_or_else(|| lost_unless_refused(error))
    }
}

impl OwnedSession<AsyncPgConnection, AsyncHook, Arc<Link>, Self> for Session<'static> {
    fn parts(&mut self) -> Parts<'_> {
        Session::parts(self)
    }

    fn connection(&self) -> &AsyncPgConnection {
        match &self.lease {
            Lease::Pooled(object) => object,
            Lease::Held(..) | Lease::Gone => unreachable!("it is a pool's, until it ends"),
        }
    }

    fn transaction(&self) -> &Arc<str> {
        &self.account.transaction
    }

    #[inline]
    fn into_session(self: Box<Self>) -> Self {
        *self
    }
}

impl AsyncSession for Session<'_> {
    async fn known_limits(&mut self) -> Result<Option<Limits>, Failure> {
        Ok(self.link.known_limits())
    }

    fn keep_limits(&mut self, limits: Limits) {
        self.link.keep_limits(limits);
    }

    async fn begin(&mut self, begin: &Begin) -> Result<(), Failure> {
        if self.link.is_in_transaction() {
            return Err(Failure::left_open(None));
        }
        let can_post = !begin.is_awaited() && self.link.is_on_wire() && self.link.is_idle();
        self.before_commit = begin.before_commit();
        self.link.begin(self.bind_values, self.account.notes.clone());
        let conn = self.lease.connection();
        if can_post {
            // Polled once, BEGIN is on its way. What it did is read off the wire.
            if let Some(Err(error)) = (&mut &*conn).batch_execute(begin.sql()).now_or_never() {
                return Err(self.failure(&error));
            }
            self.link.begin_sent();
            return change_depth(conn, TransactionDepthChange::IncreaseDepth);
        }
        let begun = Manager::begin_transaction_sql(conn, begin.sql());
        match self.link.alarm.within(self.answer_timeout, begun).await {
            Ok(Ok(())) => {
                self.link.begin_sent();
                Ok(())
            }
            Ok(Err(error)) => Err(self.failure(&error)),
            Err(_elapsed) => Err(Failure::no_answer("BEGIN", self.answer_timeout)),
        }
    }

    async fn ask(&mut self, question: Question<'_>) -> Result<Option<String>, Failure> {
        let asked = Asked(question).ask(self.lease.connection());
        match self.link.alarm.within(self.answer_timeout, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failure(&error)),
            Err(_elapsed) => Err(Failure::no_answer("a question", self.answer_timeout)),
        }
    }

    async fn settle(&mut self, patience: Duration) -> Standing {
        let mut is_given_up = false;
        if self.link.has_abandoned() || !self.link.is_settled() {
            // Whether it settled or not, the link tells how things stand.
            let settled = settled(&self.link, self.lease.connection());
            let in_time =
                self.link.alarm.within(self.link.patience(patience), settled).await.is_ok();
            // A request that was started, and that nobody waits for, may not have reached the wire yet.
            is_given_up = !in_time && self.link.has_abandoned();
        }
        self.account.trail = self.link.take_trail();
        if self.link.is_on_wire()
            && self.link.is_idle()
            && depth(self.lease.connection()) == Some(1)
        {
            // The server refused COMMIT, and has ended the transaction. Diesel's depth follows.
            let _ = change_depth(self.lease.connection(), TransactionDepthChange::DecreaseDepth);
        }
        let savepoint_is_open = depth(self.lease.connection()).is_some_and(|depth| depth > 1);
        match self.link.standing(savepoint_is_open) {
            Standing::Open(failure) if is_given_up => Standing::InFlight(failure),
            standing => standing,
        }
    }

    fn is_unsure(&mut self) -> bool {
        let link = Observer::<Link>::known_link_of(self.lease.connection());
        let is_replaced = link.is_none_or(|link| !Arc::ptr_eq(&link, &self.link));
        self.link.is_unsure(is_replaced)
    }

    async fn commit(&mut self, patience: Duration) -> Result<(), Failure> {
        self.committing = true;
        let before = Arc::clone(&self.before_commit);
        let commit = Commit { link: Arc::clone(&self.link), before };
        let answer = match std::mem::replace(&mut self.lease, Lease::Gone) {
            Lease::Pooled(mut object) => {
                let link = Arc::clone(&self.link);
                let finish = async move {
                    let answer = commit.within(patience, &mut object).await;
                    ((object, link), answer)
                };
                let ((object, _), answer) = to_the_end(&mut self.account, finish, release).await;
                self.lease = Lease::Pooled(object);
                answer
            }
            lease => {
                self.lease = lease;
                commit.within(patience, self.lease.connection()).await
            }
        };
        // One that was lost on its way to COMMIT is closed, and nothing is cancelled.
        self.committing = answer.as_ref().is_err_and(Failure::is_lost);
        answer
    }

    async fn rollback(&mut self) -> Result<(), Failure> {
        let conn = self.lease.connection();
        if depth(conn) != Some(1) {
            return Err(Failure::local("a savepoint is open"));
        }
        self.link.ending();
        let rolled_back = Manager::rollback_transaction(conn);
        match self.link.alarm.within(self.answer_timeout, rolled_back).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failure(&error)),
            Err(_elapsed) => Err(Failure::no_answer("ROLLBACK", self.answer_timeout)),
        }
    }

    fn account(&mut self) -> &mut Account<AsyncHook> {
        &mut self.account
    }

    fn connection(&self) -> Arc<dyn Connection> {
        Arc::clone(&self.link) as Arc<dyn Connection>
    }

    #[inline]
    fn give_back(mut self) {
        self.link.finish();
        match std::mem::replace(&mut self.lease, Lease::Gone) {
            // Dropping it returns it to the pool.
            Lease::Pooled(_) | Lease::Gone => {}
            Lease::Held(held, slot) => slot.put_back(held),
        }
    }
}

impl Drop for Session<'_> {
    /// In doubt: the server is told to stop, and the connection is closed, now.
    #[inline]
    fn drop(&mut self) {
        match std::mem::replace(&mut self.lease, Lease::Gone) {
            Lease::Gone => {}
            Lease::Pooled(object) => {
                if self.committing {
                    self.link.hang_up();
                } else {
                    close(&self.link);
                }
                drop(Object::take(*object));
            }
            Lease::Held(mut held, slot) => {
                // Nobody may use this connection again; but a COMMIT on its way is left to arrive.
                if self.committing {
                    close_when_answered(Arc::clone(&self.link), self.answer_timeout);
                } else {
                    close(&self.link);
                }
                Manager::transaction_manager_status_mut(held.connection()).set_in_error();
                slot.put_back(held);
            }
        }
    }
}

impl Lease<'_> {
    fn connection(&mut self) -> &mut AsyncPgConnection {
        match self {
            Self::Pooled(object) => object,
            Self::Held(held, _) => held.connection(),
            Self::Gone => unreachable!("a session ends when its connection goes"),
        }
    }
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("link", &self.link).finish_non_exhaustive()
    }
}

/// COMMIT came to its answer after its caller had gone away.
#[inline]
fn release((object, link): (Box<Object<AsyncPgConnection>>, Arc<Link>), is_committed: bool) {
    if is_committed {
        link.finish();
        drop(object);
    } else {
        drop(Object::take(*object));
    }
}

/// Waits until nothing is in flight.
async fn settled(link: &Link, conn: &mut AsyncPgConnection) {
    if link.has_abandoned() {
        // Answers come in order: once this one is there, so are those that nobody waits for.
        let _ = conn.batch_execute("").await;
    }
    link.settled().await;
}

#[inline]
fn close(link: &Link) {
    if link.is_in_flight()
        && let Some(cancel) = link.cancel()
    {
        // The server notices a closed connection only after the statement that it is working on.
        spawn(Box::pin(cancel));
    }
    link.hang_up();
}

#[inline]
fn close_when_answered(link: Arc<Link>, patience: Duration) {
    spawn(Box::pin(async move {
        let _ = link.alarm.within(patience, link.settled()).await;
        link.hang_up();
    }));
}

/// Whether the caller's connection is in a transaction. Where nothing that is known of it tells, two round trips do: a
/// setting for the transaction is gone in the next statement, unless one is open.
async fn is_in_transaction(link: &Link, conn: &mut AsyncPgConnection) -> Result<bool, Failure> {
    const SET_SQL: &str = "SELECT set_config('txsafe.open', 'yes', true)";
    const QUESTION: Question<'_> =
        Question::rare("SELECT current_setting('txsafe.open', true) AS answer");
    if depth(conn).is_some() || link.is_in_transaction() {
        return Ok(true);
    }
    if link.is_on_wire() {
        return Ok(false);
    }
    let answer = async {
        conn.batch_execute(SET_SQL).await?;
        Asked(QUESTION).ask(conn).await
    };
    match answer.await {
        Ok(answer) => Ok(answer.as_deref() == Some("yes")),
        // An aborted one refuses questions.
        Err(error) => match lost_unless_refused(&error) {
            failure if failure.is_lost() => Err(failure),
            _ => Ok(true),
        },
    }
}

/// The link of a connection; one that was built elsewhere is observed from now on, as far as that goes.
fn link_of(conn: &mut AsyncPgConnection) -> Result<Arc<Link>, Failure> {
    let link = Observer::link_of(conn, Link::off_wire)?;
    if !link.is_on_wire() {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            tracing::warn!(
                "the wire of some connections isn't observed, because they weren't made by `txsafe_diesel::manager`, \
                 `manager_with` or `connect`: SQLSTATEs are guessed from Diesel's error kinds and the server's \
                 messages, and BEGIN is awaited; make them by one of these",
            );
        });
    }
    Ok(link)
}
