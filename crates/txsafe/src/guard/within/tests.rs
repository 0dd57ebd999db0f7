use super::*;
use crate::clock::excused::{Excuse, Excusing};
use crate::guard::{
    connection::Calls,
    finding::Finding,
    marker::{allow_external_io, external_io},
    policy::Policy,
    scope::tests::scope_on,
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, poll_immediate, select},
};
use std::{future::pending, panic::AssertUnwindSafe, sync::Mutex};
use tokio::{
    sync::Notify,
    task::yield_now,
    time::{interval, sleep, timeout},
};

/// Sleeps are what is looked at here: they stand for a statement, or for a call of something else.
const WHILE: Duration = Duration::from_millis(3);

/// Longer than a busy machine is excused for: the first one of these that is.
#[cfg(target_os = "linux")]
const LONG: [Duration; 3] =
    [Duration::from_millis(150), Duration::from_secs(1), Duration::from_secs(10)];

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
async fn a_receiver_that_panics_hides_nothing() {
    let policy = Policy::test().on_finding(|_| panic!("on purpose"));
    let run = within(scope_on(Arc::default(), 1, policy), sleep(WHILE));
    let panic = AssertUnwindSafe(run).catch_unwind().await.unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().starts_with("TXS001"));
}

#[tokio::test]
async fn a_blank_reason_allows_nothing() {
    let (found, ledger) =
        found(lenient(), async |_| allow_external_io(" ", sleep(WHILE)).await).await;
    assert_eq!(found.len(), 1);
    assert_eq!(ledger.times().allowed, Duration::ZERO);
}

#[tokio::test]
async fn what_is_given_up_while_it_waits_is_found() {
    let (policy, findings) = watching(lenient());
    let calls = Arc::<Calls>::default();
    let gives_up = async |body| {
        let scope = scope_on(Arc::clone(&calls), 1, policy.clone());
        timeout(WHILE, within(scope, body)).await.unwrap_err();
        std::mem::take(&mut *findings.lock().unwrap())
    };
    let found = gives_up(Box::pin(pending()) as BoxFuture<'_, ()>).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].what.ends_with(", and was given up"), "{}", found[0]);
    let (waited, times) = (found[0].waited.unwrap(), found[0].times.unwrap());
    assert!(waited > Duration::ZERO && times.external >= waited, "{}", found[0]);
    let found = gives_up(Box::pin(calls.waiting(pending()))).await;
    assert!(found.is_empty(), "its database kept it waiting: {found:?}");
}

#[tokio::test]
async fn a_wait_is_one_although_its_task_is_polled_for_other_reasons() {
    let (policy, findings) = watching(Policy::staging().external_wait(4 * WHILE));
    let body = within(scope_on(Arc::default(), 1, policy), async { sleep(8 * WHILE).await });
    let mut body = pin!(body);
    let mut ticks = interval(WHILE);
    while let Either::Left(_) = select(pin!(ticks.tick()), body.as_mut()).await {}
    let findings = findings.lock().unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].waited >= Some(4 * WHILE), "{findings:?}");
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
    let (none, _) =
        found(lenient(), async |calls| tokio::join!(calls.waiting(then_sleep()), sleep_first()))
            .await;
    assert!(none.is_empty(), "{none:?}");
    let (one, ledger) =
        found(lenient(), async |calls| tokio::join!(calls.waiting(sleep_first()), then_sleep()))
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
    assert!(found[1].site.as_ref().unwrap().file.ends_with(file!()));
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

#[cfg(all(target_os = "linux", feature = "origins"))]
#[test]
fn a_poll_that_blocked_is_told_although_there_is_no_next_one() {
    let mut codes = Vec::new();
    for long in LONG {
        let (policy, findings) = watching(Policy::dev().slow_poll(Duration::from_secs(60)));
        let calls = Arc::<Calls>::default();
        let scope = scope_on(Arc::clone(&calls), 1, policy);
        let body = within(scope, async {
            thread::sleep(long);
            calls.waiting(pending::<()>()).await;
        });
        assert!(body.now_or_never().is_none());
        codes = findings.lock().unwrap().iter().map(|found| found.code).collect();
        if !codes.is_empty() {
            break;
        }
    }
    assert_eq!(codes, [Code::BlockingCall]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_thread_that_waited_for_work_of_ours_and_then_computed_is_not_called_blocked() {
    let policy = lenient().clocks(true).blocking_call(WHILE).slow_poll(Duration::from_secs(60));
    let (found, _) = found(policy, async |_| {
        let excusing = Excusing::start(Excuse::Own);
        thread::sleep(LONG[0]);
        drop(excusing);
        let clocks = Clocks::read().unwrap();
        while Duration::from_nanos(clocks.spent(u64::MAX).running) < 20 * WHILE {
            std::hint::spin_loop();
        }
    })
    .await;
    assert!(found.is_empty(), "{found:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_blocked_thread_is_told_from_a_busy_one() {
    let policy = || lenient().clocks(true).slow_poll(WHILE).blocking_call(WHILE);
    let mut blocked = Vec::new();
    for long in LONG {
        blocked = found(policy(), async |_| thread::sleep(long)).await.0;
        if !blocked.is_empty() {
            break;
        }
    }
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
