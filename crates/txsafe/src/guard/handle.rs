//! A transaction that runs, to be handed to work that is spawned.

use super::scope::{Scope, enter, in_transaction, scope};
use crate::clock::{self, times::Times};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// The transaction that this code runs in, if it is one.
///
/// # Examples
/// A task that belongs to its transaction is told so:
/// ```
/// # async fn charge() {}
/// # async fn inside() {
/// use txsafe::guard;
///
/// let charged = match guard::current() {
///     Some(transaction) => tokio::spawn(transaction.attach(charge())),
///     None => tokio::spawn(charge()),
/// };
/// # }
/// # assert!(txsafe::guard::current().is_none());
/// ```
#[must_use]
pub fn current() -> Option<Handle> {
    if in_transaction() { scope().map(Handle) } else { None }
}

/// A transaction that runs.
#[derive(Clone)]
pub struct Handle(Arc<Scope>);

impl Handle {
    /// Its name.
    #[must_use]
    pub fn transaction(&self) -> &str {
        &self.0.transaction
    }

    /// Where it was called.
    #[must_use]
    pub fn place(&self) -> &'static Location<'static> {
        self.0.place
    }

    /// How long this attempt has been running.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        clock::since(self.0.began)
    }

    /// Where its time went so far, if the policy has it accounted.
    #[must_use]
    pub fn times(&self) -> Option<Times> {
        self.0.ledger.as_ref().map(|ledger| ledger.times())
    }

    /// Makes a future part of the transaction, wherever it is polled: of a task that is spawned, say. Once the transaction
    /// has ended, it is part of nothing.
    pub fn attach<F: Future>(&self, future: F) -> Attached<F> {
        Attached { future, scope: Some(Arc::clone(&self.0)) }
    }

    /// Runs `f` as a part of the transaction, on whatever thread: in `spawn_blocking`, say.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let mut scope = Some(Arc::clone(&self.0));
        let _inside = enter(&mut scope);
        f()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("transaction", &self.0.transaction)
            .field("place", &self.0.place.to_string())
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// A future that is part of a transaction; made by [`Handle::attach`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Attached<F> {
        #[pin]
        future: F,
        scope: Option<Arc<Scope>>,
    }
}

impl<F: Future> Future for Attached<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _inside = enter(this.scope);
        this.future.poll(cx)
    }
}
