//! The scope around the future of a transaction's closure: entered on every poll, and what it waits for is accounted.

#[cfg(feature = "origins")]
use super::origin;
use super::{
    code::Code,
    gaps::Gaps,
    kept::Kept,
    report::{Seen, Where, raise},
    scope::{Scope, enter, scope},
    thread::Clocks,
    wake::Alert,
};
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
    let ended = Ended(Arc::clone(&scope));
    let result = {
        let mut place = Some(scope);
        let _inside = enter(&mut place);
        gaps.begin();
        let result = body();
        gaps.end();
        result
    };
    Kept::tell(&ended.0);
    #[cfg(feature = "origins")]
    if ended.0.guard.policy.may_fail() {
        ended.0.questions.wait();
    }
    raise(&ended.0);
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
pub(super) struct Ended(pub(super) Arc<Scope>);

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
    alert: Option<(Arc<Alert>, Waker)>,
}

impl Watch {
    fn new(scope: Arc<Scope>, ledger: Arc<Ledger>) -> Self {
        Self { scope, ledger, waits_since: None, alert: None }
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
            self.waited(since, woken.unwrap_or(begins), begins, was_server);
        }
        let kept = self.alert.take().filter(|(alert, _)| alert.will_wake(cx.waker()));
        let (alert, waker) = kept.unwrap_or_else(|| self.alert(cx.waker()));
        let clocks = self.scope.guard.policy.clocks.then(Clocks::read).flatten();
        let excused = Excused::so_far();
        // Telling of what was waited for took time, too.
        let begins = now();
        let result = poll(&mut Context::from_waker(&waker));
        let ends = now();
        self.alert = Some((alert, waker));
        self.ledger.add(Wait::Running, ends - begins);
        if let Some(clocks) = clocks {
            self.polled(clocks, ends - begins, excused.since().total());
        }
        if result.is_pending() {
            self.scope.connection.poll_waits();
            self.waits_since = Some(ends);
        }
        result
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

    /// The closure waited from `since` on, was woken, and is polled `now`.
    fn waited(&self, since: u64, woken: u64, now: u64, was_server: bool) {
        // It may have been woken while it was being polled, as by `yield_now`.
        let woken = woken.clamp(since, now);
        self.ledger.add(Wait::Scheduling, now - woken);
        let waited = woken - since;
        if waited == 0 {
            return;
        }
        if was_server {
            return self.ledger.add(Wait::Database, waited);
        }
        if self.scope.allowed.load(Relaxed) > 0 {
            return self.ledger.add(Wait::Allowed, waited);
        }
        self.ledger.add(Wait::External, waited);
        let waited = Duration::from_nanos(waited);
        if self.scope.told.load(Relaxed) == 0 && waited >= self.scope.guard.policy.external_wait {
            self.report(Seen {
                code: Code::ExternalWait,
                what: format!("waited {waited:.1?} for something that isn't its database"),
                subject: String::new(),
                site: self.origin(),
                waited: Some(waited),
            });
        }
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
        self.report(Seen {
            code,
            what,
            subject: String::new(),
            site: Where::Unknown,
            waited: Some(waited),
        });
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
mod tests {
    use super::*;
    use crate::guard::{
        connection::Calls,
        finding::Finding,
        marker::{allow_external_io, external_io},
        policy::Policy,
        scope::tests::scope_on,
    };
    use futures_util::future::poll_immediate;
    use std::sync::Mutex;
    use tokio::{
        sync::Notify,
        task::yield_now,
        time::{sleep, timeout},
    };

    /// Sleeps are what is looked at here: they stand for a statement, or for a call of something else.
    const WHILE: Duration = Duration::from_millis(3);

    type Findings = Arc<Mutex<Vec<Finding>>>;

    /// A policy that hands its findings out.
    fn watching(policy: Policy) -> (Policy, Findings) {
        let findings = Findings::default();
        let receive = Arc::clone(&findings);
        (policy.on_finding(move |found| receive.lock().unwrap().push(found.clone())), findings)
    }

    /// Runs `body` in a transaction of its own connection, and returns what was found.
    async fn found<F: Future>(
        policy: Policy,
        body: impl FnOnce(Arc<Calls>) -> F,
    ) -> (Vec<Finding>, Arc<Ledger>) {
        let (policy, findings) = watching(policy);
        let calls = Arc::<Calls>::default();
        let scope = scope_on(Arc::clone(&calls), 1, policy);
        let ledger = scope.ledger.clone().unwrap();
        within(scope, body(calls)).await;
        let findings = std::mem::take(&mut *findings.lock().unwrap());
        (findings, ledger)
    }

    fn lenient() -> Policy {
        Policy::staging().external_wait(Duration::ZERO)
    }

    #[tokio::test]
    async fn what_is_waited_for_beside_the_database_is_found() {
        let (found, ledger) = found(lenient(), async |calls| {
            calls.waiting(sleep(WHILE)).await;
            sleep(2 * WHILE).await;
        })
        .await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].code, Code::ExternalWait);
        let times = ledger.times();
        assert!(times.database >= WHILE, "{times}");
        assert!(times.external >= 2 * WHILE, "{times}");
    }

    #[tokio::test]
    async fn only_what_prolongs_the_transaction_counts() {
        let first = Notify::new();
        let then_sleep = async || {
            first.notified().await;
            sleep(WHILE).await;
        };
        let sleep_first = async || {
            sleep(WHILE).await;
            first.notify_one();
        };
        let (none, _) = found(lenient(), async |calls| {
            tokio::join!(calls.waiting(then_sleep()), sleep_first())
        })
        .await;
        assert!(none.is_empty(), "{none:?}");
        let (one, ledger) = found(lenient(), async |calls| {
            tokio::join!(calls.waiting(sleep_first()), then_sleep())
        })
        .await;
        assert_eq!(one.len(), 1);
        let times = ledger.times();
        assert!(times.database >= WHILE && times.external >= WHILE, "{times}");
    }

    #[tokio::test]
    async fn a_timeout_around_a_statement_is_nothing_external() {
        let (found, _) =
            found(lenient(), async |calls| timeout(60 * WHILE, calls.waiting(sleep(WHILE))).await)
                .await;
        assert!(found.is_empty(), "{found:?}");
    }

    #[tokio::test]
    async fn rows_that_are_not_asked_for_are_not_waited_for() {
        // A statement that is polled, and then left alone while something else is awaited.
        let (found, _) = found(lenient(), async |calls| {
            let mut statement = Box::pin(calls.waiting(yield_now()));
            assert!(poll_immediate(&mut statement).await.is_none());
            assert!(poll_immediate(&mut statement).await.is_some());
            sleep(WHILE).await;
        })
        .await;
        assert_eq!(found.len(), 1);
    }

    #[tokio::test]
    async fn who_yields_waits_for_nothing() {
        let (found, ledger) = found(lenient(), async |_| {
            let mut has_yielded = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut has_yielded, true) {
                    return std::task::Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
        })
        .await;
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(ledger.times().external, Duration::ZERO);
    }

    #[cfg(feature = "origins")]
    #[tokio::test]
    async fn who_yields_to_a_busy_worker_waits_for_nothing() {
        let busy = tokio::spawn(async {
            loop {
                std::thread::sleep(WHILE);
                yield_now().await;
            }
        });
        // tokio wakes it when its worker has nothing else to do. It would be a panic.
        let (_, ledger) = found(Policy::test(), async |_| {
            for _ in 0..5 {
                yield_now().await;
            }
        })
        .await;
        busy.abort();
        let times = ledger.times();
        assert!(times.external.is_zero() && times.scheduling >= 4 * WHILE, "{times}");
    }

    #[tokio::test]
    async fn others_of_the_process_are_external_too() {
        let notify = Arc::new(Notify::new());
        let (found, _) = found(lenient(), async |_| {
            let other = Arc::clone(&notify);
            tokio::spawn(async move {
                sleep(WHILE).await;
                other.notify_one();
            });
            notify.notified().await;
        })
        .await;
        assert_eq!(found.len(), 1);
    }

    #[tokio::test]
    async fn what_is_marked_is_found_by_its_name_even_if_it_never_waits() {
        let (found, ledger) = found(lenient(), async |_| {
            external_io("mock.charge", async {}).await;
            external_io("stripe.charge", sleep(WHILE)).await;
            drop(external_io("never.called", async {}));
        })
        .await;
        let names: Vec<_> = found.iter().map(|f| f.what.split(',').next().unwrap()).collect();
        assert_eq!(names, ["called mock.charge", "called stripe.charge"]);
        assert!(found.iter().all(|f| f.code == Code::ExternalCall));
        assert!(found[1].site.as_ref().unwrap().file.ends_with("within.rs"));
        assert!(found[1].waited.unwrap() >= WHILE && ledger.times().external >= WHILE);
    }

    #[tokio::test]
    async fn what_is_allowed_is_accounted_and_not_found() {
        let (found, ledger) = found(lenient(), async |_| {
            allow_external_io("fraud check", async {
                external_io("fraud.check", sleep(WHILE)).await;
            })
            .await;
        })
        .await;
        assert!(found.is_empty(), "{found:?}");
        assert!(ledger.times().allowed >= WHILE);
    }

    #[tokio::test]
    async fn a_marked_call_that_is_given_up_is_found() {
        let (found, _) = found(lenient(), async |_| {
            let _ = timeout(WHILE, external_io("slow", std::future::pending::<()>())).await;
        })
        .await;
        assert_eq!(found.len(), 1);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_blocked_thread_is_told_from_a_busy_one() {
        let policy = || lenient().clocks(true).slow_poll(WHILE).blocking_call(WHILE);
        // Longer than a busy machine is excused for.
        let (blocked, _) = found(policy(), async |_| std::thread::sleep(50 * WHILE)).await;
        let (busy, _) = found(policy(), async |_| {
            // For as long on the processor, which others want too.
            let clocks = Clocks::read().unwrap();
            while Duration::from_nanos(clocks.spent(u64::MAX).running) < 2 * WHILE {
                std::hint::spin_loop();
            }
        })
        .await;
        assert_eq!(blocked[0].code, Code::BlockingCall);
        assert_eq!(busy[0].code, Code::SlowPoll);
    }

    #[tokio::test]
    #[should_panic(expected = "TXS001 external wait")]
    async fn a_test_fails() {
        let policy = Policy::test();
        found(policy, async |_| sleep(WHILE).await).await;
    }
}
