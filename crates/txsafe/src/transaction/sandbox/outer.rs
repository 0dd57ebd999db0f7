//! The transaction that is never committed.

use crate::{
    dialect::{begin::BeginSettings, failure::Failure, mark::Mark},
    driver::{
        account::Notes, asynchronous::AsyncDriver, savepoint::Savepoints, session::AsyncSession,
    },
    error::Error,
    guard::connection::{Calls, Connection},
    locks::relation::NoOrder,
    transaction::call::Call,
};
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// The session of a sandbox, and what is left to be undone on it.
pub(super) struct Outer<D: AsyncDriver> {
    /// `None` once it has ended.
    session: Option<D::Session<'static>>,
    /// A savepoint is open whose transaction was dropped.
    pub(super) has_abandoned: bool,
}

/// How savepoints are set on a session, whichever driver's it is.
pub(super) struct SavepointCalls<D: AsyncDriver> {
    pub(super) set: Step<D, Result<(), Error>>,
    pub(super) release: Step<D, Result<(), Error>>,
    pub(super) roll_back: Step<D, ()>,
}

type Step<D, T> = for<'t> fn(&'t mut <D as AsyncDriver>::Session<'static>) -> BoxFuture<'t, T>;

impl<D: AsyncDriver + Savepoints> SavepointCalls<D> {
    pub(super) fn of_driver() -> Self {
        Self {
            set: |session| Box::pin(async move { D::set(&mut D::tx::<NoOrder>(session)).await }),
            release: |session| {
                Box::pin(async move { D::release(&mut D::tx::<NoOrder>(session)).await })
            },
            roll_back: |session| {
                Box::pin(async move {
                    // Whatever its transaction left in flight comes first.
                    D::settle(&mut D::tx::<NoOrder>(session)).await;
                    D::roll_back(&mut D::tx::<NoOrder>(session)).await;
                })
            },
        }
    }
}

impl<D: AsyncDriver> Outer<D> {
    /// Begins it on a connection of the pool.
    pub(super) async fn begin(pool: &D::Pool, call: &Call) -> Result<Self, Error> {
        let options = call.settings.of_session(None);
        let mut session = D::checkout_owned(pool, options).await?;
        session.account().begin(
            &call.named.name,
            call.shared.own_schema.as_ref(),
            Notes::default(),
        );
        let settings = BeginSettings {
            isolation: call.settings.isolation,
            read_only: None,
            deferrable: false,
            lock_timeout: None,
            lock_timeout_at_commit: None,
            statement_timeout: None,
            idle_in_transaction_session_timeout: None,
            transaction_timeout: None,
            application_name: &call.named.application_name,
            local: "",
            without_set: call.settings.without_set,
        };
        let begin = call.shared.dialect.begin(&settings, Mark::new(fastrand::u64(..)));
        session.begin(&begin.awaited(true)).await?;
        Ok(Self { session: Some(session), has_abandoned: false })
    }

    pub(super) fn session(&mut self) -> Result<&mut D::Session<'static>, Failure> {
        let closed = || Failure::local("the sandbox is closed: open another one for the next test");
        self.session.as_mut().ok_or_else(closed)
    }

    pub(super) fn connection(&self) -> Arc<dyn Connection> {
        match &self.session {
            Some(session) => session.connection(),
            None => Arc::<Calls>::default(),
        }
    }

    /// Rolls back.
    pub(super) async fn end(&mut self) -> Result<(), Error> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        if self.has_abandoned {
            // A dropped transaction has left its savepoint open. Closing the connection rolls back, too.
            return Ok(());
        }
        session.rollback().await?;
        session.give_back();
        Ok(())
    }
}
