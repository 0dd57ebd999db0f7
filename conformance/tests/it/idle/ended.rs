//! A session that the server ended for idling.

use super::{databases, until_ended};
use std::{sync::Arc, time::Duration};
use txsafe::{Cause, Failure, Outcome, SqlState, TxOptions, guard::Policy};
use txsafe_conformance::{
    drivers::{Call, Database},
    error::AppError,
    script::{Script, Step},
    shop::Shop,
};

/// SQLx prepares a statement in several round trips, and a busy machine stands still for a tenth of a second between two of them.
const TIMEOUT: Duration = Duration::from_millis(300);

/// What the closure does once its session has been ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Statement,
    Commit,
    RollBack,
    /// It keeps the error of a statement to itself, runs another one, and returns `Ok`.
    SwallowTwice,
}

/// What the transaction is protected by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Nothing,
    Key,
    VerifiedCommit,
}

async fn is_not_tried_again(then: Then) {
    let shop = Arc::new(Shop::open("ended").await.unwrap());
    let (databases, last_report) = databases(&shop, &Policy::production());
    let mut wrong = Vec::new();
    for (driver, db) in &databases {
        for by in [By::Nothing, By::Key, By::VerifiedCommit] {
            let (script, result) = run(&shop, db.as_ref(), then, by).await;
            let report = last_report.lock().unwrap().take();
            let Some(report) = report else {
                wrong.push(format!("{driver}, {by:?}: no report of {result:?}"));
                continue;
            };
            let failures: Vec<_> = report.failures.iter().collect();
            let said = failures.iter().map(|attempt| attempt.failure.to_string());
            let said = said.collect::<Vec<_>>().join("; ");
            let is_named = failures.len() == 1
                && failures[0].cause == Cause::TransactionTimeout
                && failures[0].failure.sqlstate()
                    == Some(SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT)
                && (says_how_long(&said) || was_late(&failures[0].failure))
                && said.contains("`idle_in_transaction_session_timeout` is 300ms")
                && said.contains("not tried again");
            let outcomes = [report.outcome, result.as_ref().unwrap_err().outcome()];
            if !is_named || script.attempts() != 1 || outcomes != [Outcome::RolledBack; 2] {
                let attempts = script.attempts();
                wrong.push(format!(
                    "{driver}, {by:?}: {attempts} attempts, {outcomes:?}, {report:?}"
                ));
            }
            if then == Then::RollBack && !matches!(result, Err(AppError::Own("refused"))) {
                wrong.push(format!("{driver}, {by:?}: not the closure's own error: {result:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(shop.balance_of(1).await, 100);
}

/// Whether the message says that the transaction sent nothing for about as long as the timeout, or longer.
fn says_how_long(said: &str) -> bool {
    let Some((_, rest)) = said.split_once("sent nothing for ") else { return false };
    let idle = rest.split(',').next().unwrap_or_default();
    match idle.strip_suffix("ms") {
        Some(ms) => ms.parse::<f64>().unwrap() >= 290.0,
        None => !idle.ends_with("µs"),
    }
}

/// Whether the machine stood still for as long as the timeout behind the statement's start, and the message says so.
fn was_late(failure: &Failure) -> bool {
    failure.took().is_some_and(|took| took >= TIMEOUT.mul_f64(0.9))
        && failure.to_string().contains("reached the server too late")
}

async fn run(
    shop: &Arc<Shop>,
    db: &dyn Database,
    then: Then,
    by: By,
) -> (Script, Result<(), AppError>) {
    let mut steps = vec![Step::Credit(1, 1), until_ended(shop)];
    match then {
        Then::Statement => steps.push(Step::Credit(1, 1)),
        Then::Commit => {}
        Then::RollBack => steps.push(Step::Fail("refused")),
        Then::SwallowTwice => {
            steps.extend([Step::Swallow("SELECT 1".into()), Step::Swallow("SELECT 2".into())]);
        }
    }
    let script = Script::new(steps);
    let options = TxOptions::new()
        .idle_in_transaction_session_timeout(TIMEOUT)
        .verify_commit(by == By::VerifiedCommit);
    let call = Call::new("job").with(options);
    let call = if by == By::Key { call.key("job 7") } else { call };
    let result = db.run(call, script.clone()).await.map(drop);
    (script, result)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_found_by_a_statement() {
    is_not_tried_again(Then::Statement).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_found_by_a_statement_whose_error_is_swallowed() {
    is_not_tried_again(Then::SwallowTwice).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_found_before_commit_which_is_then_not_in_doubt() {
    is_not_tried_again(Then::Commit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_found_before_rollback() {
    is_not_tried_again(Then::RollBack).await;
}
