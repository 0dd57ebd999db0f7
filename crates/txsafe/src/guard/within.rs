//! The scope around the future of a transaction's closure: entered on every poll, and what it waits for is accounted.

use super::{
    code::Code,
    gaps::Gaps,
    report::{Seen, Where, raise},
    scope::{Scope, enter, scope},
    standstill::Live,
    thread::Clocks,
    wake::Alert,
};
#[cfg(feature = "origins")]
use super::{late::Late, origin, standstill::Inquiry};
use crate::hold::{
    excused::Excused,
    times::{Ledger, Wait, now},
};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Waker},
    time::Duration,
};

/// Runs `future` inside `scope`.
///
/// # Panics
/// If something was found that fails the transaction: at the end of the poll.
pub(crate) async fn within<F: Future>(scope: Arc<Scope>, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut watch = scope.ledger.clone().map(|ledger| Watch::new(Arc::clone(&scope), ledger));
    let _live = Live::enter(&scope);
    let ended = Ended(Arc::clone(&scope));
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
    #[cfg(feature = "origins")]
    if ended.0.guard.policy.may_fail() {
        // Whether it may be committed depends on what is still looked up.
        poll_fn(|cx| ended.0.questions.poll_answered(cx)).await;
        raise(&ended.0);
    }
    output
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
    raise(&ended.0);
    #[cfg(feature = "origins")]
    if ended.0.guard.policy.may_fail() {
        ended.0.questions.wait();
        raise(&ended.0);
    }
    result
}

/// For adapters: runs the body of a savepoint. In the transaction that a test wraps around everything it does, this is the
/// real one.
pub async fn savepoint<F: Future>(body: F) -> F::Output {
    match scope().filter(|scope| scope.wraps_a_test) {
        Some(wrapper) => within(wrapper.inside_a_test(), body).await,
        None => body.await,
    }
}

/// The blocking twin of [`savepoint`].
pub fn savepoint_blocking<R>(body: impl FnOnce() -> R) -> R {
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
        if let Some(since) = self.waits_since.take() {
            // Without a word of ours, its task had another reason, and we are waiting still.
            self.waited(since, woken, begins, was_server);
        }
        #[cfg(feature = "origins")]
        self.scope.standing.polled(woken.is_some());
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
            self.polled(clocks, ends - begins, excused.since().total());
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

    /// The closure waited from `since` on, was woken if it wasn't another one's turn, and is polled `now`.
    fn waited(&mut self, since: u64, rang: Option<u64>, now: u64, was_server: bool) {
        // It may have been woken while it was being polled, as by `yield_now`.
        let woken = rang.unwrap_or(now).clamp(since, now);
        self.ledger.add(Wait::Scheduling, now - woken);
        let waited = woken - since;
        if waited == 0 {
            return;
        }
        if was_server {
            self.waited_before = Duration::ZERO;
            return self.ledger.add(Wait::Database, waited);
        }
        if self.scope.allowed.load(Relaxed) > 0 {
            return self.ledger.add(Wait::Allowed, waited);
        }
        self.ledger.add(Wait::External, waited);
        let waited = std::mem::take(&mut self.waited_before) + Duration::from_nanos(waited);
        if rang.is_none() {
            self.waited_before = waited;
        } else if !self.is_told() && waited >= self.scope.guard.policy.external_wait {
            self.report(Seen {
                code: Code::ExternalWait,
                what: format!("waited {waited:.1?} for something that isn't its database"),
                subject: String::new(),
                site: self.origin(),
                waited: Some(waited),
            });
        }
    }

    /// Whether what is waited for is told by somebody else.
    fn is_told(&self) -> bool {
        #[cfg(feature = "origins")]
        if self.scope.standing.is_told() {
            return true;
        }
        self.scope.told.load(Relaxed) > 0
    }

    /// A poll took `wall` nanoseconds, of which some are excused.
    fn polled(&self, clocks: Clocks, wall: u64, excused: u64) {
        let policy = &self.scope.guard.policy;
        let took = Duration::from_nanos(wall.saturating_sub(excused));
        if took < policy.blocking_call.min(policy.slow_poll) {
            return;
        }
        // What is excused may have been either.
        let spent = clocks.spent(wall);
        let blocked = Duration::from_nanos(spent.blocked).min(took);
        let ran = Duration::from_nanos(spent.running).min(took);
        let (code, what, waited) =
            if blocked >= policy.blocking_call && !spent.is_the_machines(blocked) {
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
            Some(trace) => self.report(Seen { site: Where::On(trace), ..seen }),
            None if self.scope.connection.is_waiting() => self.scope.late.leave(seen),
            None => self.report(seen),
        }
    }

    /// The stack that woke the task, if it is known.
    fn origin(&self) -> Where {
        #[cfg(feature = "origins")]
        if let Some(trace) = self.alert.as_ref().and_then(|(alert, _)| alert.take_trace()) {
            return Where::On(trace);
        }
        Where::Unknown
    }

    fn report(&self, seen: Seen) {
        self.scope.guard.report(&self.scope, seen);
    }
}

#[cfg(test)]
mod tests;
