//! One attempt inside of a sandbox.

use super::{Inside, outer::Outer};
use crate::{
    dialect::{Ask, begin::Begin, failure::Failure, limits::Limits},
    driver::{
        account::Account,
        asynchronous::AsyncDriver,
        hooks::AsyncHook,
        session::{AsyncSession, CallersError, Question, SessionOptions, Standing},
    },
    error::Error,
    guard::connection::Connection,
};
use futures_util::{
    future::{Either, select},
    lock::OwnedMutexGuard,
};
use std::{
    pin::pin,
    sync::{Arc, PoisonError},
    time::Duration,
};

/// An attempt behind a savepoint. It has the sandbox's connection for itself until it is dropped.
pub(crate) struct InSandbox<D: AsyncDriver> {
    inside: Arc<Inside<D>>,
    outer: OwnedMutexGuard<Outer<D>>,
    savepoint: Savepoint,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Savepoint {
    NotSet,
    Open,
    /// Released or rolled back.
    Over,
}

impl<D: AsyncDriver> InSandbox<D> {
    /// Waits until no other transaction runs in the sandbox, and undoes what the last one may have left.
    pub(super) async fn open(
        inside: Arc<Inside<D>>,
        options: SessionOptions,
    ) -> Result<Self, Failure> {
        let lock = pin!(Arc::clone(&inside.outer).lock_owned());
        let alarm = pin!(D::sleep(options.checkout_timeout));
        let mut outer = match select(lock, alarm).await {
            Either::Left((outer, _)) => outer,
            Either::Right(_) => return Err(busy(options.checkout_timeout)),
        };
        if outer.has_abandoned {
            (inside.calls.roll_back)(outer.session()?).await;
            outer.has_abandoned = false;
        }
        outer.session()?;
        Ok(Self { inside, outer, savepoint: Savepoint::NotSet })
    }

    /// The connection that all transactions of the sandbox share.
    pub(super) fn connection_of_all(&mut self) -> Result<&mut D::Session<'static>, CallersError> {
        self.outer.session().map_err(|_| CallersError)
    }

    fn session(&mut self) -> &mut D::Session<'static> {
        self.outer
            .session()
            .unwrap_or_else(|_| unreachable!("the sandbox can't end while an attempt has it"))
    }

    async fn roll_back(&mut self) {
        let roll_back = self.inside.calls.roll_back;
        roll_back(self.session()).await;
        self.savepoint = Savepoint::Over;
    }

    /// Checks what COMMIT would check, behind a savepoint that is rolled back: so constraints are deferred again for the next
    /// transaction.
    async fn check_deferred(&mut self) -> Result<(), Failure> {
        let Some(sql) = D::DIALECT.question(Ask::DeferredConstraints) else { return Ok(()) };
        let (set, roll_back) = (self.inside.calls.set, self.inside.calls.roll_back);
        set(self.session()).await.map_err(of_error)?;
        let checked = self.session().ask(Question::new(sql, &[])).await;
        roll_back(self.session()).await;
        checked.map(drop)
    }
}

impl<D: AsyncDriver> AsyncSession for InSandbox<D> {
    async fn known_limits(&mut self) -> Result<Option<Limits>, Failure> {
        // None of ours is set.
        Ok(Some(Limits::default()))
    }

    fn keep_limits(&mut self, _limits: Limits) {}

    async fn begin(&mut self, _begin: &Begin) -> Result<(), Failure> {
        let set = self.inside.calls.set;
        set(self.session()).await.map_err(of_error)?;
        self.savepoint = Savepoint::Open;
        Ok(())
    }

    async fn ask(&mut self, question: Question<'_>) -> Result<Option<String>, Failure> {
        self.session().ask(question).await
    }

    async fn settle(&mut self, patience: Duration) -> Standing {
        if self.savepoint == Savepoint::Over {
            return Standing::Ended;
        }
        match self.session().settle(patience).await {
            // It is ours.
            Standing::SavepointOpen => Standing::Open(None),
            // It isn't there any more.
            Standing::Open(_) => Standing::Ended,
            standing => standing,
        }
    }

    fn is_unsure(&mut self) -> bool {
        false
    }

    async fn commit(&mut self, _patience: Duration) -> Result<(), Failure> {
        if let Err(failure) = self.check_deferred().await {
            self.roll_back().await;
            return Err(failure);
        }
        let release = self.inside.calls.release;
        release(self.session()).await.map_err(of_error)?;
        self.savepoint = Savepoint::Over;
        let inside = Arc::clone(&self.inside);
        if let Some(captured) = &inside.captured {
            let hooks = self.account().hooks.take(true);
            captured.lock().unwrap_or_else(PoisonError::into_inner).extend(hooks);
        }
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), Failure> {
        self.roll_back().await;
        Ok(())
    }

    fn account(&mut self) -> &mut Account<AsyncHook> {
        self.session().account()
    }

    fn connection(&self) -> Arc<dyn Connection> {
        self.outer.connection()
    }

    // Its destructor gives the sandbox's connection to the next transaction.
    fn give_back(self) {}
}

impl<D: AsyncDriver> Drop for InSandbox<D> {
    /// What a transaction did whose end is in doubt is undone before the next one begins.
    fn drop(&mut self) {
        if self.savepoint == Savepoint::Open {
            self.outer.has_abandoned = true;
        }
    }
}

fn busy(patience: Duration) -> Failure {
    Failure::local(format!(
        "another transaction of the sandbox was still running after {patience:?}: a sandbox has one connection; give a test whose \
         transactions must run at the same time a database of its own"
    ))
}

fn of_error(error: Error) -> Failure {
    error.failure().cloned().unwrap_or_else(|| Failure::local(error.to_string()))
}
