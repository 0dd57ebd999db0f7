//! A transaction that idles is reported while it does, before the server ends its session.

use super::{databases, until_ended};
use std::{sync::Arc, time::Duration};
use txsafe::{
    TxOptions,
    guard::{Code, Policy, Severity},
};
use txsafe_conformance::{
    drivers::{Call, Database},
    error::AppError,
    findings::Findings,
    script::{Script, Step},
    shop::Shop,
};

const TIMEOUT: Duration = Duration::from_secs(2);

/// A policy that reports idle transactions at each occurrence, and what it reported.
fn watching(policy: Policy) -> (Policy, Findings) {
    let findings = Findings::default();
    let receive = Arc::clone(&findings);
    let policy = policy.on_finding(move |found| {
        if found.code == Code::IdleTransaction {
            receive.lock().unwrap().push(found.clone());
        }
    });
    (policy, findings)
}

/// Waits until something was found.
fn until_found(findings: &Findings) -> Step {
    let findings = Arc::clone(findings);
    Step::awaiting(move || {
        let findings = Arc::clone(&findings);
        async move {
            while findings.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    })
}

fn read() -> Step {
    Step::sql("SELECT count(*) FROM accounts")
}

async fn run(db: &dyn Database, name: &'static str, steps: Vec<Step>) -> Result<(), AppError> {
    let options = TxOptions::new().idle_in_transaction_session_timeout(TIMEOUT);
    db.run(Call::new(name).with(options), Script::new(steps)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_transaction_is_found_while_it_idles() {
    let shop = Arc::new(Shop::open("idles").await.unwrap());
    let (policy, findings) = watching(Policy::production());
    for (driver, db) in databases(&shop, &policy).0 {
        // It commits: the finding came before the server had ended the session.
        let steps = vec![Step::Credit(1, 1), read(), until_found(&findings)];
        run(db.as_ref(), "job", steps).await.unwrap();
        let found = std::mem::take(&mut *findings.lock().unwrap());
        let [finding] = &found[..] else { panic!("{driver}: {found:?}") };
        let text = finding.to_string();
        assert_eq!((&*finding.transaction, finding.severity), ("job", Severity::Warn), "{text}");
        assert_eq!(finding.last_sql.as_deref(), Some("SELECT count(*) FROM accounts"), "{driver}");
        assert_eq!(finding.statements, 2, "{driver}");
        assert!(text.contains("after 2s the server ends its session"), "{driver}: {text}");
        let waited = finding.waited.unwrap();
        assert!(waited >= TIMEOUT / 2 && waited < TIMEOUT, "{driver}: {waited:?}");
        assert!(finding.elapsed >= waited, "{driver}: {text}");
    }
    assert_eq!(shop.balance_of(1).await, 104);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_is_reported_once() {
    let shop = Arc::new(Shop::open("once").await.unwrap());
    let (policy, findings) = watching(Policy::production());
    for (driver, db) in databases(&shop, &policy).0 {
        let steps = vec![Step::Credit(1, 1), until_ended(&shop), read()];
        run(db.as_ref(), "ended", steps).await.unwrap_err();
        let found = std::mem::take(&mut *findings.lock().unwrap());
        assert_eq!(found.len(), 1, "{driver}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_works_or_waits_for_its_database_is_not_idle() {
    let shop = Arc::new(Shop::open("works").await.unwrap());
    let (policy, findings) = watching(Policy::production());
    for (driver, db) in databases(&shop, &policy).0 {
        run(db.as_ref(), "short", vec![Step::Credit(1, 1)]).await.unwrap();
        // Longer than half of the timeout, all in all, and never idle.
        let naps = std::iter::repeat_n(Step::sql("SELECT pg_sleep(0.1)"), 12);
        run(db.as_ref(), "works", naps.collect()).await.unwrap();
        run(db.as_ref(), "waits", vec![Step::sql("SELECT pg_sleep(1.1)")]).await.unwrap();
        let found = findings.lock().unwrap();
        assert!(found.is_empty(), "{driver}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_looked_for_where_the_guard_is_off() {
    let shop = Arc::new(Shop::open("off").await.unwrap());
    let (policy, findings) = watching(Policy::off());
    for (driver, db) in databases(&shop, &policy).0 {
        run(db.as_ref(), "ended", vec![read(), until_ended(&shop)]).await.unwrap_err();
        assert!(findings.lock().unwrap().is_empty(), "{driver}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_tests_it_fails_the_transaction() {
    let shop = Arc::new(Shop::open("fails").await.unwrap());
    let only = Code::ALL.into_iter().fold(Policy::test(), |policy, code| match code {
        Code::IdleTransaction => policy,
        code => policy.severity(code, Severity::Off),
    });
    let (policy, findings) = watching(only);
    for (driver, db) in databases(&shop, &policy).0 {
        let steps = vec![Step::Credit(1, 1), until_found(&findings)];
        let task = tokio::spawn(async move { run(db.as_ref(), "job", steps).await });
        let panic = task.await.expect_err(driver).into_panic();
        let said = panic.downcast::<String>().unwrap();
        assert!(said.starts_with("TXS011 idle transaction: has sent nothing for "), "{said}");
        findings.lock().unwrap().clear();
    }
    assert_eq!(shop.balance_of(1).await, 100);
}
