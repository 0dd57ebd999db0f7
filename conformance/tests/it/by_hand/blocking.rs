//! Diesel's blocking connections.

use super::{EARLY_RETURNS, open};
use crate::words::CREDIT;
use diesel::{PgConnection, connection::SimpleConnection, r2d2::ConnectionManager};
use std::{thread, time::Duration};
use tokio::{runtime::Handle, task::block_in_place};
use txsafe::{
    ErrorKind, Keyed, Outcome, TxOptions,
    guard::{Code, Policy},
};
use txsafe_conformance::{
    findings::{found, watching},
    shop::Shop,
};
use txsafe_diesel::blocking::{Database, OwnedTx, pool_builder};

fn database(shop: &Shop, guard: Policy) -> Database {
    let manager = ConnectionManager::<PgConnection>::new(&shop.url);
    let pool = pool_builder().max_size(1).min_idle(Some(0)).build_unchecked(manager);
    Database::builder(pool).guard(guard).build().unwrap()
}

/// A helper on Diesel's own connection stays as it is.
fn credit(conn: &mut PgConnection) {
    conn.batch_execute(CREDIT).unwrap();
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    Handle::current().block_on(future)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_passed_around_and_committed_elsewhere() {
    let shop = open().await;
    block_in_place(|| {
        let db = database(&shop, Policy::production());
        let mut tx = db.begin("passed around").unwrap();
        credit(&mut tx);
        let elsewhere = |mut tx: OwnedTx| {
            credit(&mut tx);
            tx.commit()
        };
        thread::spawn(move || elsewhere(tx)).join().unwrap().unwrap();
        assert_eq!(wait(shop.balance_of(1)), 102);
        let mut tx = db.begin("rolled back").unwrap();
        credit(&mut tx);
        tx.rollback().unwrap();
        assert_eq!(wait(shop.balance_of(1)), 102);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_return_keeps_the_connection() {
    let shop = open().await;
    block_in_place(|| {
        let db = database(&shop, Policy::production());
        let mut backends = Vec::new();
        for _ in 0..EARLY_RETURNS {
            let mut tx = db.begin("early return").unwrap();
            credit(&mut tx);
            drop(tx);
            if backends.is_empty() {
                backends = wait(shop.backends());
            }
        }
        assert_eq!(wait(shop.backends()), backends);
        assert_eq!((wait(shop.busy()), wait(shop.balance_of(1))), (0, 100));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_commit_is_told() {
    let shop = open().await;
    block_in_place(|| {
        let db = database(&shop, Policy::production());
        let mut tx = db.begin("swallowed").unwrap();
        credit(&mut tx);
        tx.batch_execute("INSERT INTO accounts VALUES (1, 0)").unwrap_err();
        assert_eq!(*tx.commit().unwrap_err().kind(), ErrorKind::RolledBackAtCommit);
        assert_eq!((wait(shop.busy()), wait(shop.balance_of(1))), (0, 100));

        let mut tx = db.begin("left").unwrap();
        credit(&mut tx);
        tx.batch_execute("COMMIT").unwrap();
        let error = tx.rollback().unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (&ErrorKind::EndedByClosure, Outcome::Unknown));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_commits_once() {
    let shop = open().await;
    block_in_place(|| {
        let db = database(&shop, Policy::production());
        for round in 0..3 {
            let begun = db.idempotency_key("request-1").begin("keyed").unwrap();
            let Keyed::Ran(mut tx) = begun else {
                assert_eq!(round, 2);
                break;
            };
            credit(&mut tx);
            if round == 0 { tx.rollback().unwrap() } else { tx.commit().unwrap() }
        }
        assert_eq!(wait(shop.balance_of(1)), 101);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_found_with_the_statement_behind_it() {
    let shop = open().await;
    block_in_place(|| {
        let (policy, findings) = watching(Policy::dev());
        let db = database(&shop, policy);
        let mut tx = db.begin("gap").unwrap();
        credit(&mut tx);
        thread::sleep(Duration::from_millis(60));
        credit(&mut tx);
        let line = line!() - 1;
        tx.commit().unwrap();
        let wait = &found(&findings, 1)[0];
        assert_eq!(wait.code, Code::ExternalWait);
        assert_eq!(wait.site.as_ref().unwrap().line, line, "{wait}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_has_passed_is_not_committed() {
    let shop = open().await;
    block_in_place(|| {
        let db = database(&shop, Policy::production());
        let patience = TxOptions::new().timeout(Duration::from_millis(300));
        let mut tx = db.with(patience).begin("late").unwrap();
        credit(&mut tx);
        thread::sleep(Duration::from_millis(310));
        let error = tx.commit().unwrap_err();
        let expected = (&ErrorKind::DeadlineExceeded, Outcome::RolledBack);
        assert_eq!((error.kind(), error.outcome()), expected);
        assert_eq!((wait(shop.busy()), wait(shop.balance_of(1))), (0, 100));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_before_commit_fails_a_test_and_not_a_rollback() {
    let shop = open().await;
    block_in_place(|| {
        let db = database(&shop, Policy::test());
        for commits in [false, true] {
            let mut tx = db.begin("gap").unwrap();
            credit(&mut tx);
            thread::sleep(Duration::from_millis(60));
            let ended = thread::spawn(move || if commits { tx.commit() } else { tx.rollback() });
            assert_eq!(ended.join().is_err(), commits);
        }
        assert_eq!((wait(shop.busy()), wait(shop.balance_of(1))), (0, 100));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_closes_its_connection() {
    let shop = open().await;
    block_in_place(|| {
        let db = database(&shop, Policy::production());
        let of_thread = db.clone();
        let panicking = thread::spawn(move || {
            let mut tx = of_thread.begin("panics").unwrap();
            credit(&mut tx);
            panic!("on purpose");
        });
        assert!(panicking.join().is_err());
        assert_eq!((wait(shop.busy()), wait(shop.balance_of(1))), (0, 100));
        let mut tx = db.begin("next").unwrap();
        credit(&mut tx);
        tx.commit().unwrap();
    });
}
