//! Transactions that are begun and ended by hand.

use super::bank::{Bank, DUPLICATE, DUPLICATE_ENDS};
use crate::words::CREDIT;
use sqlx::{Executor, sqlite::SqlitePoolOptions};
use txsafe::{ErrorKind, Keyed, Outcome};
use txsafe_conformance::{
    drivers::Call,
    script::{Script, Step},
};
use txsafe_sqlx::sqlite::{Database, OwnedTx};

async fn database(bank: &Bank) -> Database {
    let pool = SqlitePoolOptions::new().max_connections(1).connect(&bank.url).await.unwrap();
    Database::builder(pool).build().unwrap()
}

async fn credit(tx: &mut OwnedTx) {
    tx.execute(CREDIT).await.unwrap();
}

#[tokio::test]
async fn it_commits_or_rolls_back() {
    let bank = Bank::open("by_hand").await;
    let db = database(&bank).await;
    let mut tx = db.begin("commits").await.unwrap();
    credit(&mut tx).await;
    tx.commit().await.unwrap();
    let mut tx = db.begin("rolls back").await.unwrap();
    credit(&mut tx).await;
    tx.rollback().await.unwrap();
    for _ in 0..100 {
        let mut tx = db.begin("early return").await.unwrap();
        credit(&mut tx).await;
    }
    // The pool's only connection: it is given back once it has rolled back.
    drop(db.pool().acquire().await.unwrap());
    assert_eq!(bank.balance_of(1).await, 101);
    bank.assert_free().await;
}

#[tokio::test]
async fn a_failure_that_was_swallowed_is_no_commit() {
    let bank = Bank::open("by_hand_swallowed").await;
    let db = database(&bank).await;
    for duplicate in [DUPLICATE, DUPLICATE_ENDS] {
        let mut tx = db.begin("swallowed").await.unwrap();
        credit(&mut tx).await;
        tx.execute(duplicate).await.unwrap_err();
        tx.execute(CREDIT).await.unwrap_err();
        let error = tx.commit().await.unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::RolledBackAtCommit, "{error}");
        assert_eq!(error.outcome(), Outcome::RolledBack);
    }
    assert_eq!(bank.balance_of(1).await, 100);
    bank.assert_free().await;
}

#[tokio::test]
async fn attempts_are_made_until_one_commits() {
    let bank = Bank::open("by_hand_attempts").await;
    let mut other = bank.connect().await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let script = Script::new([Step::Credit(1, 1)]);
    let call = Call::new("waits").by_hand().key("request-1");
    let (ran, ()) = tokio::join!(bank.db.run(call.clone(), script.clone()), async {
        tokio::task::yield_now().await;
        other.execute("ROLLBACK").await.unwrap();
    });
    assert_eq!(ran.unwrap(), Keyed::Ran(()));
    let again = bank.db.run(call, script).await.unwrap();
    assert_eq!(again, Keyed::AlreadyCommitted);
    assert_eq!(bank.balance_of(1).await, 101);
}
