//! What a transaction does beside its database is found, and nothing else is.

use super::Case;
use crate::{
    drivers::{Call, Driver},
    error::AppError,
    findings::{Findings, watching},
    script::{Script, Step, raise},
    shop::Shop,
};
use futures_util::FutureExt;
use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, oneshot},
    time::sleep,
};
use txsafe::{
    TxOptions,
    guard::{
        self, Allow, Code, Finding, Policy, Severity, allow_external_io, external_io,
        in_transaction,
    },
};
use txsafe_testkit::Postgres;

pub(super) const CASES: &[Case] = cases![nothing_is_found_where_nothing_is];

pub(super) const CLOSURE_CASES: &[Case] = closure_cases![
    a_wait_for_something_else_fails_a_test,
    a_wait_for_something_else_is_told_with_its_story,
    a_marked_call_is_found_although_it_never_waits,
    what_is_allowed_is_not_found,
    a_rule_that_has_expired_is_told,
    policies_differ_in_what_follows,
    the_wrapper_of_a_test_does_not_count,
    a_transaction_on_another_database_is_a_second_connection,
    what_is_spawned_is_inside_if_it_is_attached,
];

pub(super) const ASYNC_CASES: &[Case] = closure_cases![async
    a_cancelled_transaction_tells_what_it_did,
    others_of_the_process_are_external_too,
    a_poll_that_blocked_is_told_with_the_await_behind_it,
    a_deadline_that_passes_in_a_wait_fails_a_test,
    what_another_task_does_is_not_waited_for,
];

/// As long as a call of something else takes here. It is what is looked at, and nothing is stepped by it. Blocked threads are
/// excused for what a busy machine may do to them, which is less.
const CALL: Duration = Duration::from_millis(60);

pub(super) fn call_something_else() -> Step {
    Step::awaiting(|| async {
        sleep(CALL).await;
        Ok(())
    })
}

fn read() -> Step {
    Step::sql("SELECT count(*) FROM accounts")
}

/// Its answer can't be there before it is waited for.
fn slow() -> Step {
    Step::sql("SELECT pg_sleep(0.1)")
}

/// Waits until so many findings have been told: names of lines are looked up elsewhere.
async fn told(findings: &Findings, n: usize) -> Vec<Finding> {
    told_of("", findings, n).await
}

/// The same of the transaction of this name, if one is given: on a busy machine, one before may have waited once more.
async fn told_of(name: &str, findings: &Findings, n: usize) -> Vec<Finding> {
    let start = Instant::now();
    let is_of = |told: &Finding| name.is_empty() || *told.transaction == *name;
    loop {
        {
            let mut findings = findings.lock().unwrap();
            if findings.iter().filter(|told| is_of(told)).count() >= n {
                return std::mem::take(&mut *findings).into_iter().filter(is_of).collect();
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{findings:?}");
        }
        tokio::task::yield_now().await;
    }
}

async fn nothing_is_found_where_nothing_is(driver: Driver) {
    let shop = Shop::open("clean").await.unwrap();
    // A finding would be a panic.
    let db = shop.guarded(driver, Policy::test());
    let steps = [
        Step::Credit(1, 1),
        Step::Savepoint(vec![Step::Credit(2, 1), Step::Savepoint(vec![read()])]),
        Step::Savepoint(vec![Step::Credit(1, -1_000)]),
        Step::sql("SELECT pg_sleep(0.02)"),
        Step::AfterCommit("a hook may do what it likes"),
        read(),
    ];
    for _ in 0..20 {
        db.run(Call::new("clean"), Script::new(steps.clone())).await.unwrap();
    }
    let retried = Script::first([Step::Swallow(raise("40P01"))], [Step::Credit(1, 1)]);
    db.run(Call::new("retried").key("k"), retried).await.unwrap();
    assert_eq!(shop.balance_of(1).await, 121);
}

async fn a_wait_for_something_else_fails_a_test(driver: Driver) {
    let shop = Shop::open("fails").await.unwrap();
    let (policy, findings) = watching(Policy::test());
    let db = shop.guarded(driver, policy);
    let script = Script::new([Step::Credit(1, 5), call_something_else(), read()]);
    let run = AssertUnwindSafe(db.run(Call::new("pay"), script)).catch_unwind().await;
    let panic = run.expect_err("a finding fails it");
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("TXS001 external wait: "), "{text}");
    assert!(text.contains("in transaction \"pay\""), "{text}");
    assert!(text.contains("help: "), "{text}");
    assert!(!told(&findings, 1).await.is_empty());
    while shop.busy().await > 0 {}
    assert_eq!(shop.balance_of(1).await, 100, "rolled back");
}

async fn a_wait_for_something_else_is_told_with_its_story(driver: Driver) {
    let shop = Shop::open("story").await.unwrap();
    let (policy, findings) = watching(Policy::dev().slow_poll(Duration::from_secs(60)));
    let db = shop.guarded(driver, policy);
    for _ in 0..2 {
        let steps = [Step::Credit(1, 5), slow(), read(), call_something_else(), read()];
        db.run(Call::new("pay"), Script::new(steps)).await.unwrap();
    }
    let findings = told(&findings, 1).await;
    assert_eq!(findings.len(), 1, "a developer is warned once of each site: {findings:?}");
    let finding = &findings[0];
    assert_eq!((finding.code, finding.severity), (Code::ExternalWait, Severity::Warn));
    assert_eq!((&*finding.transaction, finding.statements), ("pay", 3));
    assert_eq!(finding.last_sql.as_deref(), Some("SELECT count(*) FROM accounts"));
    // A timer runs from where it is made; a busy machine may be late to end the poll, from where on it is waited for.
    assert!(finding.waited.unwrap() >= CALL / 2 && finding.elapsed >= CALL, "{finding}");
    assert!(finding.times.unwrap().external >= CALL / 2, "{finding}");
    assert!(finding.times.unwrap().database > Duration::ZERO, "{finding}");
    let site = finding.site.as_ref().unwrap();
    if driver.is_async() {
        // The line of the `.await`, and what it was that waited.
        assert!(site.file.ends_with("cases/guard.rs"), "{finding}");
        assert_eq!(site.called.as_deref(), Some("tokio"), "{finding}");
    } else {
        // The statement behind the gap.
        assert!(site.file.ends_with("drivers/diesel.rs"), "{finding}");
    }
    assert_eq!(shop.balance_of(1).await, 110, "committed all the same");
}

async fn a_marked_call_is_found_although_it_never_waits(driver: Driver) {
    let shop = Shop::open("marked").await.unwrap();
    let (policy, findings) = watching(Policy::production());
    let db = shop.guarded(driver, policy);
    let mock = Step::awaiting(|| external_io("mailer.send", async { Ok(()) }));
    db.run(Call::new("order"), Script::new([Step::Credit(1, 5), mock])).await.unwrap();
    let findings = told(&findings, 1).await;
    assert_eq!(findings[0].code, Code::ExternalCall);
    assert!(findings[0].what.starts_with("called mailer.send"), "{}", findings[0]);
    assert!(findings[0].site.as_ref().unwrap().file.ends_with("guard.rs"), "{}", findings[0]);
}

async fn what_is_allowed_is_not_found(driver: Driver) {
    let shop = Shop::open("allowed").await.unwrap();
    let rule = Allow::new("the fraud check decides").transaction("by_rule").until("2999-12-31");
    let db = shop.guarded(driver, Policy::test().allow(rule));
    let in_code = Step::awaiting(|| async {
        allow_external_io("the fraud check decides", sleep(CALL)).await;
        Ok(())
    });
    // A future that is blocked on blocks its thread, which the marker excuses by its own clock.
    let steps = if driver.is_async() {
        vec![in_code]
    } else {
        vec![Step::awaiting(|| async {
            guard::allow_external_io_blocking("the fraud check decides", || {
                std::thread::sleep(CALL);
            });
            Ok(())
        })]
    };
    db.run(Call::new("in_code"), Script::new(steps)).await.unwrap();
    db.run(Call::new("by_rule"), Script::new([call_something_else()])).await.unwrap();
}

async fn a_rule_that_has_expired_is_told(driver: Driver) {
    let shop = Shop::open("expired").await.unwrap();
    let rule = Allow::new("goes away with TX-117").transaction("pay").until("2020-02-29");
    let (policy, findings) = watching(Policy::dev().allow(rule));
    let db = shop.guarded(driver, policy);
    db.run(Call::new("pay"), Script::new([call_something_else()])).await.unwrap();
    let findings = told(&findings, 1).await;
    let expired = findings[0].expired.as_deref();
    assert_eq!(expired, Some("goes away with TX-117, until 2020-02-29"));
}

async fn policies_differ_in_what_follows(driver: Driver) {
    let shop = Shop::open("policies").await.unwrap();
    let marked = || {
        let call = || external_io("mailer.send", async { Ok(()) });
        Script::new([read(), Step::awaiting(call), read(), call_something_else(), read()])
    };
    for (policy, expected) in [
        (Policy::off(), vec![]),
        (Policy::production(), vec![Code::ExternalCall]),
        (Policy::staging(), vec![Code::ExternalWait, Code::ExternalCall]),
        (Policy::dev(), vec![Code::ExternalWait, Code::ExternalCall]),
    ] {
        let (policy, findings) = watching(policy.severity(Code::SlowPoll, Severity::Off));
        let db = shop.guarded(driver, policy);
        db.run(Call::new("order"), marked()).await.unwrap();
        let mut codes: Vec<_> =
            told(&findings, expected.len()).await.iter().map(|finding| finding.code).collect();
        codes.sort();
        assert_eq!(codes, expected);
    }
    let db = shop.guarded(driver, Policy::test());
    let run = AssertUnwindSafe(db.run(Call::new("order"), marked())).catch_unwind().await;
    assert!(run.is_err());
}

async fn the_wrapper_of_a_test_does_not_count(driver: Driver) {
    let shop = Shop::open("wrapper").await.unwrap();
    let (policy, findings) = watching(Policy::dev());
    let db = shop.guarded(driver, policy);
    let inside = |expected: bool| {
        Step::awaiting(move || async move {
            assert_eq!(in_transaction(), expected);
            external_io("mailer.send", async { Ok(()) }).await
        })
    };
    let steps = [inside(false), call_something_else(), Step::Savepoint(vec![inside(true)])];
    let call = Call::new("test").with(TxOptions::new().test_wrapper(true));
    db.run(call, Script::new(steps)).await.unwrap();
    let findings = told(&findings, 1).await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].code, Code::ExternalCall);
}

async fn a_transaction_on_another_database_is_a_second_connection(driver: Driver) {
    let shop = Shop::open("outer").await.unwrap();
    let server = Postgres::start().await.unwrap();
    let other = Shop::on(&server, "inner").await.unwrap();
    let (policy, findings) = watching(Policy::dev());
    let db = shop.guarded(driver, policy);
    let inner = other.guarded(driver, Policy::dev());
    let step = Step::awaiting(move || {
        let inner = Arc::clone(&inner);
        async move {
            let call = Call::new("inner").inline();
            inner.run(call, Script::new([Step::Credit(1, 1)])).await.map(drop)
        }
    });
    db.run(Call::new("outer"), Script::new([read(), step])).await.unwrap();
    let findings = told(&findings, 1).await;
    let codes: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::SecondConnection], "{findings:?}");
    assert!(findings[0].what.contains("\"inner\""), "{}", findings[0]);
}

async fn what_is_spawned_is_inside_if_it_is_attached(driver: Driver) {
    let shop = Shop::open("spawned").await.unwrap();
    let (policy, findings) = watching(Policy::production());
    let db = shop.guarded(driver, policy);
    let spawn = Step::awaiting(|| async {
        let marked = || external_io("mailer.send", async { Ok::<_, AppError>(()) });
        let transaction = guard::current().unwrap();
        tokio::spawn(marked()).await.unwrap()?;
        tokio::spawn(transaction.attach(marked())).await.unwrap()
    });
    db.run(Call::new("order"), Script::new([read(), spawn])).await.unwrap();
    assert_eq!(findings.lock().unwrap().len(), 1, "fire and forget isn't inside");
}

async fn a_cancelled_transaction_tells_what_it_did(driver: Driver) {
    let shop = Shop::open("cancelled").await.unwrap();
    let (policy, findings) = watching(Policy::staging());
    let db = shop.guarded(driver, policy);
    let called = Arc::new(Notify::new());
    let never = {
        let called = Arc::clone(&called);
        Step::awaiting(move || {
            let called = Arc::clone(&called);
            external_io("never.answers", async move {
                called.notify_one();
                std::future::pending().await
            })
        })
    };
    tokio::select! {
        result = db.run(Call::new("order"), Script::new([Step::Credit(1, 1), never])) => {
            panic!("it never answers: {result:?}");
        }
        () = called.notified() => {}
    }
    assert!(!in_transaction());
    let findings = told(&findings, 1).await;
    assert!(findings[0].what.starts_with("called never.answers"), "{}", findings[0]);
    while shop.busy().await > 0 {}
    assert_eq!(shop.balance_of(1).await, 100);
}

async fn others_of_the_process_are_external_too(driver: Driver) {
    let shop = Shop::open("others").await.unwrap();
    let (policy, findings) = watching(Policy::dev());
    let db = shop.guarded(driver, policy);
    let lock = Arc::new(tokio::sync::Mutex::new(()));
    let contended = {
        let lock = Arc::clone(&lock);
        Step::awaiting(move || {
            let lock = Arc::clone(&lock);
            async move {
                let held = Arc::clone(&lock).lock_owned().await;
                let other = tokio::spawn(async move {
                    sleep(CALL).await;
                    drop(held);
                });
                drop(lock.lock().await);
                other.await.unwrap();
                Ok(())
            }
        })
    };
    let channel = Step::awaiting(|| async {
        let (send, receive) = oneshot::channel();
        let other = tokio::spawn(async move {
            sleep(CALL).await;
            send.send(()).unwrap();
        });
        receive.await.unwrap();
        other.await.unwrap();
        Ok(())
    });
    let yields = Step::awaiting(|| async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        Ok(())
    });
    for (name, step, expected) in
        [("mutex", contended, true), ("channel", channel, true), ("yields", yields, false)]
    {
        db.run(Call::new(name), Script::new([read(), step, read()])).await.unwrap();
        let findings = told_of(name, &findings, usize::from(expected)).await;
        assert_eq!(!findings.is_empty(), expected, "{name}: {findings:?}");
    }
}

async fn a_deadline_that_passes_in_a_wait_fails_a_test(driver: Driver) {
    let shop = Shop::open("given_up").await.unwrap();
    let db = shop.guarded(driver, Policy::test().severity(Code::BlockingCall, Severity::Off));
    let call = || Call::new("order").with(TxOptions::new().timeout(CALL));
    let never = || Step::awaiting(std::future::pending);
    let run = db.run(call(), Script::new([Step::Credit(1, 1), never()]));
    let panic = AssertUnwindSafe(run).catch_unwind().await.unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.starts_with("TXS001") && said.contains(", and was given up"), "{said}");
    assert_eq!(shop.balance_of(1).await, 100);
    // A deadline that its database let pass is an error like any other.
    let slow = Script::new([Step::sql("SELECT pg_sleep(60)")]);
    let outcome = db.run(call(), slow).await.unwrap_err();
    assert!(format!("{outcome:?}").contains("order"), "{outcome:?}");
}

async fn a_poll_that_blocked_is_told_with_the_await_behind_it(driver: Driver) {
    let shop = Shop::open("blocked").await.unwrap();
    let (policy, findings) = watching(Policy::dev().severity(Code::SlowPoll, Severity::Off));
    let db = shop.guarded(driver, policy);
    let block = Step::awaiting(|| async {
        std::thread::sleep(CALL);
        Ok(())
    });
    db.run(Call::new("order"), Script::new([read(), block, slow()])).await.unwrap();
    let findings = told(&findings, 1).await;
    assert_eq!((findings[0].code, findings[0].statements), (Code::BlockingCall, 1));
    // Where the next statement was awaited, in the code that plays scripts.
    let said = findings[0].to_string();
    assert!(said.contains("\n  before conformance/src/drivers/"), "{said}");
}

async fn what_another_task_does_is_not_waited_for(driver: Driver) {
    let shop = Shop::open("beside").await.unwrap();
    let db = shop.guarded(driver, Policy::test());
    let step = Step::awaiting(|| async {
        drop(tokio::spawn(sleep(CALL)));
        Ok(())
    });
    db.run(Call::new("beside"), Script::new([step, Step::sql("SELECT pg_sleep(0.1)")]))
        .await
        .unwrap();
}
