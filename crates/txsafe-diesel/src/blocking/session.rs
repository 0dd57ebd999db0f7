//! A blocking connection while it runs one attempt.

use super::{
    held::Held,
    language::Language,
    link::Link,
    pool::{Object, Pool, R2d2Pool},
    tx::{Parts, Tx},
};
use crate::{
    asked::Asked, commit::commit_unseen_sql, depth::depth_of, failure::lost_unless_refused,
    observer::Observer,
};
use diesel::{
    Connection, PgConnection, QueryableByName,
    connection::{
        AnsiTransactionManager, InstrumentationEvent, SimpleConnection, TransactionManager,
        TransactionManagerStatus,
    },
    result::{DatabaseErrorKind, Error as DieselError},
    sql_types::{Nullable, Text},
};
use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};
use txsafe::{
    Failure,
    driver::{
        Account, Begin, BlockingHook, Connection as Watched, Limits, OwnedSession, Question,
        Session as BlockingSession, SessionOptions, Slot, Standing,
    },
};

pub(crate) type Manager = AnsiTransactionManager;

/// A connection while it runs one attempt. Dropped before `give_back`, it is closed.
pub struct Session<'a, P: Pool> {
    lease: Lease<'a, P>,
    link: Arc<Link>,
    account: Account<BlockingHook>,
    bind_values: bool,
    /// What COMMIT's message says first.
    before_commit: Arc<str>,
}

/// Whose connection it is.
pub(crate) enum Lease<'a, P: Pool> {
    Pooled(P::Object),
    Held(Held<'a, P>, Arc<Slot<Held<'a, P>>>),
    Gone,
}

impl<'a, P: Pool> Session<'a, P> {
    /// On a connection of a server that is understood.
    pub(crate) fn new(
        mut lease: Lease<'a, P>,
        language: &Language,
        options: SessionOptions,
    ) -> Result<Self, Failure> {
        let is_held = matches!(lease, Lease::Held(..));
        let link = match lease.with(|conn| ready(conn, is_held)) {
            Ok(link) => link,
            Err(refused) => {
                lease.give_back();
                return Err(refused);
            }
        };
        let bind_values = options.bind_values;
        let account = Account::new();
        let mut session = Self { lease, link, account, bind_values, before_commit: Arc::from("") };
        match session.lease.with(|conn| language.check(conn)) {
            Ok(()) => Ok(session),
            Err(failure) => {
                if !failure.is_lost() {
                    session.give_back();
                }
                Err(failure)
            }
        }
    }

    /// Runs the closure on the transaction.
    pub(crate) fn run<Order, R>(&mut self, body: impl FnOnce(Tx<'_, Order>) -> R) -> R {
        let Self { lease, link, account, .. } = self;
        lease.with(|conn| body(Tx::new(Parts { conn, account, seen: link })))
    }

    /// What went wrong with a request of ours, as the instrumentation heard it, or as Diesel tells.
    fn failure(&self, error: &DieselError) -> Failure {
        self.link.failure().unwrap_or_else(|| lost_unless_refused(error))
    }
}

impl OwnedSession<PgConnection, BlockingHook, Arc<Link>, Self> for Session<'static, R2d2Pool> {
    fn parts(&mut self) -> Parts<'_> {
        let Self { lease, account, link, .. } = self;
        match lease {
            Lease::Pooled(conn) => Parts { conn, account, seen: link },
            Lease::Held(..) | Lease::Gone => unreachable!("it is a pool's, until it ends"),
        }
    }

    fn connection(&self) -> &PgConnection {
        match &self.lease {
            Lease::Pooled(conn) => conn,
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

impl<P: Pool> BlockingSession for Session<'_, P> {
    fn known_limits(&mut self) -> Result<Option<Limits>, Failure> {
        Ok(self.link.known_limits())
    }

    fn keep_limits(&mut self, limits: Limits) {
        self.link.keep_limits(limits);
    }

    fn begin(&mut self, begin: &Begin) -> Result<(), Failure> {
        self.link.beginning();
        let begun = self.lease.with(|conn| Manager::begin_transaction_sql(conn, begin.sql()));
        begun.map_err(|error| match error {
            DieselError::AlreadyInTransaction => Failure::left_open(None),
            error => lost_unless_refused(&error),
        })?;
        self.before_commit = begin.before_commit();
        self.link.begin(self.bind_values, self.account.notes.clone());
        Ok(())
    }

    fn ask(&mut self, question: Question<'_>) -> Result<Option<String>, Failure> {
        let asked = self.lease.with(|conn| Asked(question).ask_blocking(conn));
        asked.map_err(|error| self.failure(&error))
    }

    /// Every call has waited for its answer; so nothing is in flight.
    fn settle(&mut self, _patience: Duration) -> Standing {
        self.account.trail = self.link.take_trail();
        let link = &self.link;
        self.lease.with(|conn| {
            link.refresh(conn);
            link.standing(Manager::transaction_manager_status_mut(conn))
        })
    }

    fn is_unsure(&mut self) -> bool {
        let link = &self.link;
        let observed = self.lease.with(Observer::<Link>::known_link_of);
        link.is_unsure() || observed.is_none_or(|known| !Arc::ptr_eq(&known, link))
    }

    fn commit(&mut self) -> Result<(), Failure> {
        self.link.ending();
        let sql = commit_unseen_sql(&self.before_commit);
        self.lease.with(|conn| {
            // Diesel's own `commit_transaction` would tell it.
            let event = InstrumentationEvent::commit_transaction(NonZeroU32::MIN);
            conn.instrumentation().on_connection_event(event);
            // libpq says that the transaction is over, and Diesel's depth follows.
            conn.batch_execute(&sql).map_err(|error| {
                let failure = lost_unless_refused(&error).with_statement(Some("COMMIT".into()));
                // Diesel calls the connection closed for every error of class 08, a deferred trigger's, too. If libpq says that no
                // transaction is open, the server has answered.
                let is_closed = matches!(
                    error,
                    DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection, _)
                );
                let has_answered = !is_in_error(conn) && depth(conn).is_none();
                if is_closed && has_answered { failure.survived() } else { failure }
            })
        })
    }

    fn rollback(&mut self) -> Result<(), Failure> {
        self.link.ending();
        self.lease.with(|conn| {
            if depth(conn) != Some(1) {
                return Err(Failure::local("a savepoint is open"));
            }
            Manager::rollback_transaction(conn).map_err(|error| lost_unless_refused(&error))
        })
    }

    fn account(&mut self) -> &mut Account<BlockingHook> {
        &mut self.account
    }

    fn connection(&self) -> Arc<dyn Watched> {
        Arc::clone(&self.link) as Arc<dyn Watched>
    }

    fn give_back(mut self) {
        self.link.finish();
        std::mem::replace(&mut self.lease, Lease::Gone).give_back();
    }
}

impl<P: Pool> Drop for Session<'_, P> {
    /// In doubt: the connection is closed, now. One that was given back is somebody else's, and so is its link.
    fn drop(&mut self) {
        match std::mem::replace(&mut self.lease, Lease::Gone) {
            Lease::Gone => {}
            Lease::Pooled(object) => {
                self.link.finish();
                object.close();
            }
            Lease::Held(mut held, slot) => {
                self.link.finish();
                abandon(held.connection());
                slot.put_back(held);
            }
        }
    }
}

impl<P: Pool> Lease<'_, P> {
    fn with<R>(&mut self, work: impl FnOnce(&mut PgConnection) -> R) -> R {
        match self {
            Self::Pooled(object) => object.with(work),
            Self::Held(held, _) => work(held.connection()),
            Self::Gone => unreachable!("a session ends when its connection goes"),
        }
    }

    fn give_back(self) {
        match self {
            // Dropping it returns it to the pool.
            Self::Pooled(_) | Self::Gone => {}
            Self::Held(held, slot) => slot.put_back(held),
        }
    }
}

impl<P: Pool> fmt::Debug for Session<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("link", &self.link).finish_non_exhaustive()
    }
}

/// The link of a connection that a transaction can begin on. A pool's is found to be in one by BEGIN itself; of the
/// caller's own nothing may be touched.
fn ready(conn: &mut PgConnection, is_held: bool) -> Result<Arc<Link>, Failure> {
    if is_held && is_in_transaction(conn)? {
        return Err(Failure::in_transaction());
    }
    Observer::link_of(conn, Link::default)
}

/// Whether a transaction is open, however it was begun. Costs a round trip where Diesel doesn't know of one.
///
/// Diesel keeps libpq's status to itself, but repairs its own by it after each call: one that is in error becomes valid
/// if libpq says that no transaction is open.
fn is_in_transaction(conn: &mut PgConnection) -> Result<bool, Failure> {
    if depth(conn).is_some() {
        return Ok(true);
    }
    if is_in_error(conn) {
        return Ok(false);
    }
    set_in_error(conn);
    let asked = conn.batch_execute("");
    let is_open = is_in_error(conn);
    match asked.map_err(|error| lost_unless_refused(&error)) {
        Err(failure) if failure.is_lost() => return Err(failure),
        Ok(()) | Err(_) => {}
    }
    *Manager::transaction_manager_status_mut(conn) = TransactionManagerStatus::default();
    Ok(is_open)
}

/// One text, or none.
#[derive(QueryableByName)]
pub(crate) struct Answer {
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) answer: Option<String>,
}

/// Frees the locks of a connection whose socket can't be closed from here, and lets nobody use it again.
pub(crate) fn abandon(conn: &mut PgConnection) {
    if !is_in_error(conn) {
        // Also where Diesel believes that there is no transaction, as after a BEGIN that failed half-way.
        let _ = conn.batch_execute("ROLLBACK");
    }
    set_in_error(conn);
}

/// Lets nobody use a connection again, and its pool close it.
pub(crate) fn set_in_error(conn: &mut PgConnection) {
    Manager::transaction_manager_status_mut(conn).set_in_error();
}

/// Whether a connection is lost, or was left in doubt.
pub(crate) fn is_in_error(conn: &mut PgConnection) -> bool {
    matches!(Manager::transaction_manager_status_mut(conn), TransactionManagerStatus::InError)
}

pub(super) fn depth(conn: &mut PgConnection) -> Option<u32> {
    depth_of(Manager::transaction_manager_status_mut(conn))
}
