//! Keys: at most once, whatever happens to the answer of COMMIT.

use crate::support::{
    AppError, Attempts, Shop, credit,
    relay::{Fault, Relay},
};
use txsafe_diesel::{ErrorKind, IDEMPOTENCY_KEYS_SQL, Keyed};

#[tokio::test]
async fn a_repeated_call_does_not_run_again() {
    let shop = Shop::open("keys").await;
    shop.watcher.batch_execute(IDEMPOTENCY_KEYS_SQL).await.unwrap();
    let attempts = Attempts::default();
    let pay = async |key: &str, name: &str| {
        shop.db
            .idempotency_key(key)
            .transaction(name, async |mut tx| {
                attempts.is_first();
                credit(&mut tx, 1, 1).await?;
                Ok::<_, AppError>("receipt")
            })
            .await
            .unwrap()
    };
    assert_eq!(pay("request 1", "pay").await, Keyed::Ran("receipt"));
    assert_eq!(pay("request 1", "pay").await, Keyed::AlreadyCommitted);
    assert_eq!(pay("request 2", "pay").await, Keyed::Ran("receipt"));
    assert_eq!(pay("request 1", "refund").await, Keyed::Ran("receipt"), "keys are per name");
    assert_eq!((attempts.count(), shop.balance_of(1).await), (3, 103));
}

#[tokio::test]
async fn two_at_once_run_once() {
    let shop = Shop::open("keys_race").await;
    shop.watcher.batch_execute(IDEMPOTENCY_KEYS_SQL).await.unwrap();
    let meeting = tokio::sync::Barrier::new(2);
    let pay = async || {
        meeting.wait().await;
        shop.db
            .idempotency_key("the same")
            .transaction("pay", async |mut tx| {
                credit(&mut tx, 1, 1).await?;
                Ok::<_, AppError>(())
            })
            .await
            .unwrap()
    };
    let (a, b) = tokio::join!(pay(), pay());
    assert_ne!(a, b);
    assert_eq!(shop.balance_of(1).await, 101);
}

#[tokio::test]
async fn a_failed_transaction_leaves_its_key_free() {
    let shop = Shop::open("keys_failed").await;
    shop.watcher.batch_execute(IDEMPOTENCY_KEYS_SQL).await.unwrap();
    let keyed = || shop.db.idempotency_key("k");
    let failed = keyed().transaction("pay", async |_tx| Err::<(), _>(AppError::Own("no")));
    assert!(matches!(failed.await, Err(AppError::Own("no"))));
    let paid = keyed().transaction("pay", async |_tx| Ok::<_, AppError>(7));
    assert_eq!(paid.await.unwrap(), Keyed::Ran(7));
}

#[tokio::test]
async fn a_lost_answer_is_no_error_any_more() {
    for (fault, runs) in [(Fault::CutAfter, 1), (Fault::CutBefore, 2)] {
        let shop = Shop::open("keys_lost").await;
        shop.watcher.batch_execute(IDEMPOTENCY_KEYS_SQL).await.unwrap();
        let relay = Relay::start(shop.port(), "COMMIT", fault).await;
        let attempts = Attempts::default();
        let paid = shop.through(relay.port);
        let paid = paid.idempotency_key("k");
        let paid = paid.transaction("pay", async |mut tx| {
            let is_first = attempts.is_first();
            credit(&mut tx, 1, 1).await?;
            Ok::<_, AppError>(is_first)
        });
        // The value is that of the attempt that committed.
        assert_eq!(paid.await.unwrap(), Keyed::Ran(runs == 1), "{fault:?}");
        assert!(relay.is_done());
        assert_eq!((attempts.count(), shop.balance_of(1).await), (runs, 101), "{fault:?}");
    }
}

#[tokio::test]
async fn a_missing_table_and_a_bad_key_name_their_cure() {
    let shop = Shop::open("keys_missing").await;
    let call = async |key: &str| {
        let keyed = shop.db.idempotency_key(key);
        keyed.transaction("pay", async |_tx| Ok::<_, AppError>(())).await.unwrap_err().ours()
    };
    let error = call("k").await;
    assert_eq!(*error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains("IDEMPOTENCY_KEYS_SQL"), "{error}");
    for (key, cure) in [("", "request's own id"), ("a\0b", "NUL"), (&"x".repeat(513), "hash")] {
        let error = call(key).await;
        assert!(matches!(error.kind(), ErrorKind::InvalidSetting(_)));
        assert!(error.to_string().contains(cure), "{error}");
    }
}
