//! Transactions without a database, to see what a policy says of them.

use super::{
    connection::Calls,
    gaps::Gaps,
    policy::Policy,
    report::Guard,
    scope::{Scope, Subject},
    within::within,
};
use crate::{invalid::InvalidSetting, locks::graph::log::LockLog};
use std::{fmt, future::Future, panic::Location, sync::Arc, time::Duration};

/// That of transactions by default.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs futures as if they were closures of transactions, without a database: to test a layer, a client or a policy.
///
/// # Examples
/// ```
/// use std::sync::{Arc, Mutex};
/// use txsafe::guard::{Code, Policy, Rehearsal, external_io, in_transaction};
///
/// # futures_util::future::FutureExt::now_or_never(async {
/// let codes = Arc::new(Mutex::new(Vec::new()));
/// let noted = Arc::clone(&codes);
/// let policy = Policy::production().on_finding(move |found| noted.lock().unwrap().push(found.code));
///
/// let stage = Rehearsal::new(policy)?;
/// stage.transaction("pay", async {
///     assert!(in_transaction());
///     external_io("stripe.charge", async { 200 }).await
/// })
/// .await;
/// assert_eq!(*codes.lock().unwrap(), [Code::ExternalCall]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Rehearsal {
    guard: Arc<Guard>,
    calls: Arc<Calls>,
}

impl Rehearsal {
    /// Under this policy.
    ///
    /// # Errors
    /// A rule of the policy that can't be meant, or a to-do file that can't be read.
    pub fn new(policy: Policy) -> Result<Self, InvalidSetting> {
        Ok(Self { guard: Arc::new(Guard::new(policy)?), calls: Arc::default() })
    }

    /// Runs `body` as if it were the closure of a transaction.
    ///
    /// # Panics
    /// If something is found whose severity is [`Error`](super::Severity::Error).
    #[track_caller]
    pub fn transaction<F: Future>(
        &self,
        name: impl Into<Arc<str>>,
        body: F,
    ) -> impl Future<Output = F::Output> {
        let Self { guard, calls } = self;
        let name = name.into();
        let subject = Subject {
            database: 0,
            identity: None,
            application_name: Arc::clone(&name),
            transaction: name,
            place: Location::caller(),
            idle_timeout: Some(IDLE_TIMEOUT),
            wraps_a_test: false,
            ledger: guard.accounts().then(Arc::default),
            guard: Arc::clone(guard),
            connection: Arc::clone(calls) as Arc<_>,
            pool: None,
            gaps: Gaps::default(),
            locks: LockLog::default(),
        };
        async { within(Scope::new(subject), body).await }
    }

    /// Stands for a statement of the transaction that runs, which is one at a time: what `answer` waits for is waiting for the database.
    pub async fn statement<F: Future>(&self, answer: F) -> F::Output {
        let output = self.calls.waiting(answer).await;
        self.calls.ended("a statement");
        output
    }
}

impl fmt::Debug for Rehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rehearsal").field("guard", &self.guard).finish_non_exhaustive()
    }
}
