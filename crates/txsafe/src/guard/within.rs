//! The scope around the future of a transaction's closure: entered on every poll, and what it waits for is accounted.

use super::{
    code::Code,
    gaps::Gaps,
    kept::Kept,
    report::{Seen, Where, raise},
    scope::{Scope, enter, scope},
    standstill::Live,
    thread::Clocks,
    wake::Alert,
};
#[cfg(feature = "origins")]
use super::{late::Late, origin, standstill::Inquiry};
use crate::clock::{
    excused::Excused,
    times::{Ledger, Wait, now},
};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Waker},
    thread,
    time::Duration,
};

/// Runs `future` inside `scope`.
///
/// # Panics
/// If something was found that fails the transaction: at the end of the poll.
pub(crate) async fn within<F: Future>(scope: Arc<Scope>, future: F) -> F::Output {
    // Ended behind all that is dropped with the future.
    let ended = Ended(Arc::clone(&scope));
    let _live = Live::enter(&scope);
    let mut future = pin!(future);
    let mut watch = scope.ledger.clone().map(|ledger| Watch::new(Arc::clone(&scope), ledger));
    let mut place = Some(scope);
    let output = poll_fn(|cx| {
        let poll = match &mut watch {
            None => {
                let _inside = enter(&mut place);
                future.as_mut().poll(cx)
            }
            Some(watch) => watch.poll(cx, |cx| {
                let _inside = enter(&mut place);
                future.as_mut().poll(cx)
            }),
        };
        raise(&ended.0);
        poll
    })
    .await;
    raise_all(&ended.0).await;
    output
}

/// Whether a transaction fails depends on what is still looked up of its findings.
///
/// # Panics
/// If it does.
pub(crate) async fn raise_all(scope: &Arc<Scope>) {
    #[cfg(feature = "origins")]
    if scope.guard.policy.may_fail() {
        poll_fn(|cx| scope.questions.poll_answered(cx)).await;
    }
    raise(scope);
}

/// Runs `body` inside `scope`, of a blocking connection that tells of its statements.
///
/// # Panics
/// If something was found that fails the transaction: behind the body.
pub(crate) fn within_blocking<R>(scope: Arc<Scope>, gaps: &Gaps, body: impl FnOnce() -> R) -> R {
    let _live = Live::enter(&scope);
    let ended = Ended(Arc::clone(&scope));
    let result = {
        let mut place = Some(scope);
        let _inside = enter(&mut place);
        gaps.begin();
        let result = body();
        gaps.end();
        result
    };
    raise_all_blocking(&ended.0);
    result
}

/// The blocking twin of [`raise_all`].
///
/// # Panics
/// As there.
pub(crate) fn raise_all_blocking(scope: &Arc<Scope>) {
    raise(scope);
    #[cfg(feature = "origins")]
    if scope.guard.policy.may_fail() {
        scope.questions.wait();
        raise(scope);
    }
}

/// Runs the body of a savepoint. In the transaction that a test wraps around everything it does, this is the
/// real one.
pub(crate) async fn savepoint<F: Future>(body: F) -> F::Output {
    match scope().filter(|scope| scope.wraps_a_test) {
        Some(wrapper) => within(wrapper.inside_a_test(), body).await,
        None => body.await,
    }
}

/// The blocking twin of [`savepoint`].
pub(crate) fn savepoint_blocking<R>(body: impl FnOnce() -> R) -> R {
    match scope().filter(|scope| scope.wraps_a_test) {
        // What goes by between statements is accounted for the wrapper already.
        Some(wrapper) => within_blocking(wrapper.inside_a_test(), &Gaps::default(), body),
        None => body(),
    }
}

/// Notes that the scope has ended, however that comes.
struct Ended(Arc<Scope>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// How a wait has ended.
#[derive(Clone, Copy)]
enum Over {
    /// The closure was woken, at that time.
    Woken(u64),
    /// Its task had another reason to be polled, and it waits on.
    Interrupted,
    /// It was dropped.
    GivenUp,
}

/// Accounts for what the closure's future waits for.
struct Watch {
    scope: Arc<Scope>,
    ledger: Arc<Ledger>,
    /// When the last poll ended, if it did in waiting.
    waits_since: Option<u64>,
    /// How much of the wait lies before that poll: something around the closure had its task polled, and cut it in two.
    waited_before: Duration,
    alert: Option<(Arc<Alert>, Waker)>,
    #[cfg(feature = "origins")]
    inquiry: Inquiry,
}

impl Watch {
    fn new(scope: Arc<Scope>, ledger: Arc<Ledger>) -> Self {
        Self {
            scope,
            ledger,
            waits_since: None,
            waited_before: Duration::ZERO,
            alert: None,
            #[cfg(feature = "origins")]
            inquiry: Inquiry::default(),
        }
    }

    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> std::task::Poll<T>,
    ) -> std::task::Poll<T> {
        let begins = now();
        let woken = self.alert.as_ref().and_then(|(alert, _)| alert.take());
        let waited = woken.zip(self.waits_since);
        let waited = waited.map(|(woken, since)| Duration::from_nanos(woken.saturating_sub(since)));
        let was_server = self.scope.connection.poll_begins(waited);
        let is_told = self.polled_again(woken.is_some());
        if let Some(since) = self.waits_since.take() {
            let over = woken.map_or(Over::Interrupted, Over::Woken);
            self.waited((since, begins), over, was_server, is_told);
        }
        let kept = self.alert.take().filter(|(alert, _)| alert.will_wake(cx.waker()));
        let (alert, waker) = kept.unwrap_or_else(|| self.alert(cx.waker()));
        #[cfg(feature = "origins")]
        alert.poll_begins();
        let clocks = self.scope.guard.policy.clocks.then(Clocks::read).flatten();
        let excused = Excused::so_far();
        // Telling of what was waited for took time, too.
        let begins = now();
        let result = poll(&mut Context::from_waker(&waker));
        let ends = now();
        self.alert = Some((alert, waker));
        self.ledger.add(Wait::Running, ends - begins);
        #[cfg(feature = "origins")]
        Late::tell(&self.scope);
        if let Some(clocks) = clocks {
            self.polled(clocks, ends - begins, excused.since());
        }
        if result.is_pending() {
            self.scope.connection.poll_waits();
            self.waits_since = Some(ends);
            #[cfg(feature = "origins")]
            self.stands(cx, ends);
        }
        result
    }

    /// Says what is waited for, and asks the server about it if somebody had a suspicion.
    #[cfg(feature = "origins")]
    fn stands(&mut self, cx: &mut Context<'_>, since: u64) {
        if !self.scope.guard.policy.origins {
            return;
        }
        if let Some((alert, _)) = &self.alert {
            self.scope.standing.waits(since, alert);
        }
        self.inquiry.poll(&self.scope, cx);
    }

    /// An alert for this task, and the waker that rings it.
    fn alert(&self, task: &Waker) -> (Arc<Alert>, Waker) {
        let alert = Alert::new(task);
        #[cfg(feature = "origins")]
        if self.scope.guard.policy.origins {
            let waker = origin::waker(Arc::clone(&alert));
            return (alert, waker);
        }
        let waker = Waker::from(Arc::clone(&alert));
        (alert, waker)
    }

    /// The closure waited from `since` until `now`.
    fn waited(&mut self, (since, now): (u64, u64), over: Over, was_server: bool, is_told: bool) {
        // It may have been woken while it was being polled, as by `yield_now`.
        let woken = if let Over::Woken(woken) = over { woken.clamp(since, now) } else { now };
        self.ledger.add(Wait::Scheduling, now - woken);
        let waited = woken - since;
        let waited_before = std::mem::take(&mut self.waited_before);
        if was_server {
            return self.ledger.add(Wait::Database, waited);
        }
        if self.scope.allowed.load(Relaxed) > 0 {
            return self.ledger.add(Wait::Allowed, waited);
        }
        self.ledger.add(Wait::External, waited);
        let waited = waited_before + Duration::from_nanos(waited);
        let and_then = match over {
            Over::Interrupted => {
                self.waited_before = waited;
                return;
            }
            Over::Woken(_) => "",
            Over::GivenUp => ", and was given up",
        };
        if !waited.is_zero() && !is_told && waited >= self.scope.guard.policy.external_wait {
            self.report(Seen {
                code: Code::ExternalWait,
                what: format!(
                    "waited {waited:.1?} for something that isn't its database{and_then}"
                ),
                subject: String::new(),
                site: self.origin(over),
                waited: Some(waited),
            });
        }
    }

    /// A wait is over, or was interrupted; whether others have told of it.
    fn polled_again(&self, _was_woken: bool) -> bool {
        #[cfg(feature = "origins")]
        if self.scope.standing.polled(_was_woken) {
            return true;
        }
        self.scope.told.load(Relaxed) > 0
    }

    /// A poll took `wall` nanoseconds, of which some are excused.
    fn polled(&self, clocks: Clocks, wall: u64, excused: Excused) {
        let policy = &self.scope.guard.policy;
        let took = Duration::from_nanos(wall.saturating_sub(excused.total()));
        if took < policy.blocking_call.min(policy.slow_poll) {
            return;
        }
        // What is excused may have been either: as much of the rest as was blocked for certain.
        let spent = clocks.spent(wall);
        let blocked = Duration::from_nanos(spent.blocked.saturating_sub(excused.total()));
        let ran = Duration::from_nanos(spent.running).min(took);
        let (code, what, waited) =
            // Work of ours, such as a thread that reads SQL, disturbs what is around it.
            if blocked >= policy.blocking_call + Duration::from_nanos(excused.own)
                && !spent.is_the_machines(blocked)
            {
                let what = format!("blocked its thread for {blocked:.1?} in one poll");
                (Code::BlockingCall, what, blocked)
            } else if ran >= policy.slow_poll {
                (Code::SlowPoll, format!("computed for {ran:.1?} in one poll"), ran)
            } else {
                return;
            };
        let subject = String::new();
        let seen = Seen { code, what, subject, site: Where::Unknown, waited: Some(waited) };
        #[cfg(feature = "origins")]
        if policy.origins {
            return self.tell_next_await(seen);
        }
        self.report(seen);
    }

    /// Tells of a poll by the `.await` at which it ended: nobody looked before. If it ended at a statement of the transaction's
    /// own, the next poll comes by there; if it ended at all, none does.
    #[cfg(feature = "origins")]
    fn tell_next_await(&self, seen: Seen) {
        match self.alert.as_ref().and_then(|(alert, _)| alert.asked().pop()) {
            Some(trace) => self.report(Seen { site: Where::Before(trace), ..seen }),
            None if self.scope.connection.is_waiting() => {
                let found = self.scope.guard.found(crate::clock::now(), &self.scope, seen);
                found.into_iter().for_each(|found| self.scope.late.leave(found));
            }
            None => self.report(seen),
        }
    }

    /// The stack that woke the task, or one that it waited on, if it is known.
    fn origin(&self, _over: Over) -> Where {
        #[cfg(feature = "origins")]
        if let Some((alert, _)) = &self.alert {
            let trace = match _over {
                Over::GivenUp => alert.asked().pop(),
                _ => alert.take_trace(),
            };
            return trace.map_or(Where::Unknown, Where::On);
        }
        Where::Unknown
    }

    fn report(&self, seen: Seen) {
        self.scope.guard.report(&self.scope, seen);
    }
}

impl Drop for Watch {
    /// The closure is dropped while it waits: by a timeout around it, or because nobody wants to know any more. Nothing may be
    /// left to fail, but what it waited for is told.
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        #[cfg(feature = "origins")]
        Late::tell(&self.scope);
        Kept::tell(&self.scope);
        let Some(since) = self.waits_since.take() else { return };
        let now = now();
        let woken = self.alert.as_ref().and_then(|(alert, _)| alert.take());
        let waited = Duration::from_nanos(woken.unwrap_or(now).saturating_sub(since));
        let was_server = self.scope.connection.poll_begins(Some(waited));
        let is_told = self.polled_again(true);
        let over = woken.map_or(Over::GivenUp, Over::Woken);
        self.waited((since, now), over, was_server, is_told);
    }
}

#[cfg(test)]
mod tests;
