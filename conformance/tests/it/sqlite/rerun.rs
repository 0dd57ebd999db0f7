//! Rerun mode on SQLite.

use super::bank::{Bank, DUPLICATE};
use std::sync::{Arc, Mutex};
use txsafe::{Keyed, guard::Policy};
use txsafe_conformance::{
    drivers::{Call, Database, Setup, open_sqlite},
    error::AppError,
    script::{Script, Step},
};

/// A database in rerun mode, and what it finds.
async fn warned(bank: &Bank) -> (Arc<dyn Database>, Arc<Mutex<Vec<String>>>) {
    let findings = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&findings);
    let policy = Policy::dev().rerun(true).on_finding(move |finding| {
        if finding.code.as_str() == "TXS012" {
            told.lock().unwrap().push(finding.what.clone());
        }
    });
    let setup = Setup { guard: policy, reports: bank.reports.clone(), ..Setup::default() };
    (open_sqlite(&bank.url, 4, setup).await.unwrap(), findings)
}

#[tokio::test]
async fn closures_run_twice_and_commit_once() {
    let bank = Bank::open("rerun").await;
    let (db, told) = warned(&bank).await;
    for by_hand in [false, true] {
        let script = Script::new([
            Step::Credit(1, 1),
            Step::Savepoint(vec![Step::sql(DUPLICATE)]),
            Step::AfterCommit("committed"),
            Step::AfterRollback("rolled back"),
        ]);
        let call = Call::new("credit").key(format!("by hand: {by_hand}"));
        let call = || if by_hand { call.clone().by_hand() } else { call.clone() };
        assert_eq!(db.run(call(), script.clone()).await.unwrap(), Keyed::Ran(()));
        assert_eq!((script.attempts(), script.notes()), (2, vec!["rolled back", "committed"]));
        assert_eq!(db.run(call(), script).await.unwrap(), Keyed::AlreadyCommitted);
    }
    assert_eq!(bank.balance_of(1).await, 102);
    assert!(told.lock().unwrap().is_empty() && bank.reports.take().is_none());
    bank.assert_free().await;
}

#[tokio::test]
async fn a_second_run_that_differs_is_told() {
    let bank = Bank::open("rerun_differs").await;
    let (db, told) = warned(&bank).await;
    let taken = Script::first([Step::Credit(1, 1)], [Step::Fail("taken before")]);
    let error = db.run(Call::new("take"), taken).await.unwrap_err();
    assert!(matches!(error, AppError::Own("taken before")), "{error:?}");
    let failing = Script::first([Step::Credit(1, 1)], [Step::sql(DUPLICATE)]);
    db.run(Call::new("fail"), failing).await.unwrap_err();
    let told = told.lock().unwrap().clone();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("the first run of its closure returned Ok, and the second returned an error; statement 1 was `UPDATE"));
    assert!(
        told[1].starts_with("the first run of its closure returned Ok, and the second failed: ")
    );
    assert!(told[1].contains("UNIQUE constraint failed: accounts.id"), "{told:?}");
    assert_eq!(bank.balance_of(1).await, 100);
    bank.assert_free().await;
}
