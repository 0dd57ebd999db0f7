//! Calls that say of themselves that they are external, and calls that are allowed to be.

use super::{
    code::Code,
    report::{Seen, Where},
    scope::{Allowing, Scope, in_transaction, watched},
};
use crate::clock::{
    self,
    excused::{Excuse, Excusing},
};
use pin_project_lite::pin_project;
use std::{
    borrow::Cow,
    fmt,
    future::Future,
    mem,
    panic::Location,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Instant,
};

/// Marks a future as a call of something outside: a payment, a mail, an object store. If it is awaited in a transaction,
/// that is a finding ([`TXS002`](Code::ExternalCall)), also if it never waits, as that of a mock.
///
/// Outside of transactions it costs a look at a thread-local.
///
/// # Examples
/// ```
/// use txsafe::guard::external_io;
///
/// # struct Stripe;
/// # impl Stripe { async fn post(&self, _: u32) -> u32 { 200 } }
/// async fn charge(stripe: &Stripe, cents: u32) -> u32 {
///     external_io("stripe.charge", stripe.post(cents)).await
/// }
/// # futures_util::future::FutureExt::now_or_never(async {
/// assert_eq!(charge(&Stripe, 30_00).await, 200);
/// # }).unwrap();
/// ```
#[track_caller]
pub fn external_io<F: Future>(name: impl Into<Cow<'static, str>>, call: F) -> ExternalIo<F> {
    ExternalIo { call, name: Some(name.into()), at: Some(Location::caller()), made: None }
}

/// For layers of clients: as [`external_io`], but the finding names the line that awaits, if the policy looks for lines,
/// since that of the layer says nothing.
pub fn external_io_in_layer<F: Future>(
    name: impl Into<Cow<'static, str>>,
    call: F,
) -> ExternalIo<F> {
    ExternalIo { call, name: Some(name.into()), at: None, made: None }
}

/// Marks a blocking call, as [`external_io`] does a future.
///
/// # Examples
/// ```
/// use txsafe::guard::external_io_blocking;
///
/// let status = external_io_blocking("stripe.charge", || 200);
/// assert_eq!(status, 200);
/// ```
#[track_caller]
pub fn external_io_blocking<R>(name: impl Into<Cow<'static, str>>, call: impl FnOnce() -> R) -> R {
    let at = Location::caller();
    let _made = watched().map(|scope| Made::new(scope, name.into(), Some(at)));
    // What it does inside has been told of.
    let (_allowing, _excusing) = (Allowing::start(), Excusing::start(Excuse::Told));
    call()
}

/// Allows what a future does in a transaction, for a reason: findings inside are none, and what it waits for is accounted
/// as allowed. A blank reason is none, and allows nothing.
///
/// # Examples
/// ```
/// # async fn check(_: u32) -> bool { true }
/// # async fn inside() {
/// use txsafe::guard::allow_external_io;
///
/// let passed = allow_external_io("fraud check decides over the transfer, ADR-12", check(7)).await;
/// # let _ = passed;
/// # }
/// ```
pub fn allow_external_io<F: Future>(reason: &'static str, call: F) -> AllowExternalIo<F> {
    AllowExternalIo { call, reason, waiting: None }
}

/// Allows a blocking call, as [`allow_external_io`] does a future.
pub fn allow_external_io_blocking<R>(reason: &'static str, call: impl FnOnce() -> R) -> R {
    if is_blank(reason) {
        return call();
    }
    let (_allowing, _excusing) = (Allowing::start(), Excusing::start(Excuse::Allowed));
    call()
}

/// Rules without a reason are refused; a call can't be.
fn is_blank(reason: &str) -> bool {
    reason.trim().is_empty()
}

/// For layers and hooks of clients: an external call is being made by the code that runs; the finding names the line, if
/// the policy looks for lines.
///
/// It costs a look at a thread-local outside of transactions; `name` is called inside of them only.
pub fn note_external_call(name: impl FnOnce() -> String) {
    let Some(scope) = watched() else { return };
    let name = name();
    let what = format!("called {name}");
    let site = Where::here(&scope.guard.policy);
    let code = Code::ExternalCall;
    scope.guard.report(&scope, Seen { code, what, subject: name, site, waited: None });
}

pin_project! {
    /// A future that is marked as a call of something outside; made by [`external_io`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ExternalIo<F> {
        #[pin]
        call: F,
        name: Option<Cow<'static, str>>,
        at: Option<&'static Location<'static>>,
        made: Option<Made>,
    }
}

impl<F: Future> Future for ExternalIo<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !in_transaction() {
            return this.call.poll(cx);
        }
        if this.made.is_none()
            && let Some(scope) = watched()
            && let Some(name) = this.name.take()
        {
            *this.made = Some(Made::new(scope, name, *this.at));
        }
        let poll = {
            let (_allowing, _excusing) = (Allowing::start(), Excusing::start(Excuse::Told));
            this.call.poll(cx)
        };
        match this.made {
            Some(made) if poll.is_pending() => made.waiting.set(true),
            Some(_) | None => *this.made = None,
        }
        poll
    }
}

impl<F> fmt::Debug for ExternalIo<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "ExternalIo(at {at})"),
            None => f.write_str("ExternalIo(in a layer)"),
        }
    }
}

pin_project! {
    /// A future that may do in a transaction what it does; made by [`allow_external_io`].
    #[must_use = "futures do nothing unless polled"]
    pub struct AllowExternalIo<F> {
        #[pin]
        call: F,
        reason: &'static str,
        waiting: Option<Waiting>,
    }
}

impl<F: Future> Future for AllowExternalIo<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !in_transaction() || is_blank(this.reason) {
            return this.call.poll(cx);
        }
        if this.waiting.is_none() {
            *this.waiting = watched().map(|scope| Waiting::new(scope, |scope| &scope.allowed));
        }
        let poll = {
            let (_allowing, _excusing) = (Allowing::start(), Excusing::start(Excuse::Allowed));
            this.call.poll(cx)
        };
        if let Some(waiting) = this.waiting {
            waiting.set(poll.is_pending());
        }
        poll
    }
}

impl<F> fmt::Debug for AllowExternalIo<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowExternalIo({:?})", self.reason)
    }
}

/// A marked call that was made, which is told when it ends, or is given up.
struct Made {
    name: Cow<'static, str>,
    site: Where,
    since: Instant,
    waiting: Waiting,
}

impl Made {
    fn new(
        scope: Arc<Scope>,
        name: Cow<'static, str>,
        at: Option<&'static Location<'static>>,
    ) -> Self {
        let site = match at {
            Some(at) => Where::Known(at.into()),
            None => Where::here(&scope.guard.policy),
        };
        let waiting = Waiting::new(scope, |scope| &scope.told);
        Self { name, site, since: clock::now(), waiting }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let scope = &self.waiting.scope;
        let took = clock::since(self.since);
        scope.guard.report(
            scope,
            Seen {
                code: Code::ExternalCall,
                what: format!("called {}, which took {took:.1?}", self.name),
                subject: self.name.to_string(),
                site: mem::replace(&mut self.site, Where::Unknown),
                waited: Some(took),
            },
        );
    }
}

/// A future that its transaction waits for from a poll that says so to the next one, or until it is dropped.
pub(super) struct Waiting {
    scope: Arc<Scope>,
    among: fn(&Scope) -> &AtomicU32,
    is_waited_for: bool,
}

impl Waiting {
    pub(super) fn new(scope: Arc<Scope>, among: fn(&Scope) -> &AtomicU32) -> Self {
        Self { scope, among, is_waited_for: false }
    }

    pub(super) fn set(&mut self, waits: bool) {
        if waits != self.is_waited_for {
            self.is_waited_for = waits;
            let count = (self.among)(&self.scope);
            if waits {
                count.fetch_add(1, Relaxed)
            } else {
                count.fetch_sub(1, Relaxed)
            };
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.set(false);
    }
}
