//! The guard's findings fail the test whose database it was, and no other.

use super::{Case, guard::call_something_else};
use crate::{
    drivers::{Call, Driver},
    script::{Script, Step},
    shop::Shop,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use txsafe::guard::{Findings, Policy};

pub(super) const CLOSURE_CASES: &[Case] =
    closure_cases![a_finding_of_a_worker_fails_its_test, tests_do_not_see_each_others_findings,];

fn read() -> Step {
    Step::sql("SELECT count(*) FROM accounts")
}

async fn a_finding_of_a_worker_fails_its_test(driver: Driver) {
    let shop = Shop::open("worker").await.unwrap();
    let findings = Findings::new();
    let db = shop.guarded(driver, Policy::test().findings(&findings));
    let clean = Findings::new();
    let others = shop.guarded(driver, Policy::test().findings(&clean));

    let worker = tokio::spawn(async move {
        for _ in 0..2 {
            let (db, job) = (db.clone(), Script::new([Step::Credit(1, 5), call_something_else()]));
            let job = tokio::spawn(async move { drop(db.run(Call::new("job"), job).await) });
            assert!(job.await.is_err(), "the job panics, and its worker goes on");
        }
        others.run(Call::new("other"), Script::new([read()])).await.unwrap();
    });
    worker.await.unwrap();

    let failed = catch_unwind(AssertUnwindSafe(|| drop(findings))).unwrap_err();
    let text = failed.downcast_ref::<String>().unwrap();
    assert!(text.contains("TXS001 external wait: ") && text.contains("\"job\""), "{text}");
    assert_eq!(text.matches("help: ").count(), 1, "once, by its line: {text}");
    drop(clean); // doesn't panic
}

async fn tests_do_not_see_each_others_findings(driver: Driver) {
    let shop = Shop::open("parallel").await.unwrap();
    let dirty = shop.guarded(driver, Policy::test());
    let clean = shop.guarded(driver, Policy::test());
    let (dirty, clean) = tokio::join!(
        tokio::spawn(async move {
            let script = Script::new([Step::Credit(1, 1), call_something_else()]);
            drop(dirty.run(Call::new("dirty"), script).await);
        }),
        tokio::spawn(async move {
            for _ in 0..20 {
                clean.run(Call::new("clean"), Script::new([read()])).await.unwrap();
            }
        }),
    );
    assert!(dirty.is_err() && clean.is_ok());
}
