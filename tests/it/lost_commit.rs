//! The answer to COMMIT is lost: known, or honestly unknown; never guessed, never doubled.

use crate::support::{
    AppError, Attempts, Shop, credit,
    relay::{Fault, Relay},
};
use diesel_async::SimpleAsyncConnection;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use txsafe_diesel::{ErrorKind, Isolation, Outcome, TxOptions};

async fn pay(
    shop: &Shop,
    relay: &Relay,
    attempts: &Attempts,
    options: TxOptions,
) -> Result<(), AppError> {
    let db = shop.through(relay.port);
    db.with(options)
        .transaction("pay", async |mut tx| {
            attempts.is_first();
            credit(&mut tx, 1, 1).await?;
            Ok(())
        })
        .await
}

#[tokio::test]
async fn without_verification_it_is_unknown() {
    for (fault, balance) in [(Fault::CutBefore, 100), (Fault::CutAfter, 101), (Fault::Swallow, 100)]
    {
        let shop = Shop::open("unknown").await;
        let relay = Relay::start(shop.port(), "COMMIT", fault).await;
        let attempts = Attempts::default();
        let options = TxOptions::new().answer_timeout(Duration::from_millis(300));
        let error = pay(&shop, &relay, &attempts, options).await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::CommitUnknown { xid: None }, "{fault:?}");
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert_eq!(attempts.count(), 1, "never a blind retry");
        crate::support::until("the end", async || shop.busy().await == 0).await;
        assert_eq!(shop.balance_of(1).await, balance, "{fault:?}");
    }
}

#[tokio::test]
async fn with_verification_it_is_known() {
    for (fault, runs) in [(Fault::CutBefore, 2), (Fault::CutAfter, 1), (Fault::Swallow, 2)] {
        let shop = Shop::open("verified").await;
        let relay = Relay::start(shop.port(), "COMMIT", fault).await;
        let attempts = Attempts::default();
        let options =
            TxOptions::new().verify_commit(true).commit_timeout(Duration::from_millis(2_000));
        pay(&shop, &relay, &attempts, options).await.unwrap();
        assert_eq!(attempts.count(), runs, "{fault:?}");
        assert_eq!(shop.balance_of(1).await, 101, "{fault:?}");
        assert!(relay.connections() >= 2, "asked on a new connection");
    }
}

#[tokio::test]
async fn no_transaction_id_is_no_verdict() {
    for isolation in [Isolation::ReadCommitted, Isolation::Serializable] {
        let shop = Shop::open("no_id").await;
        let relay = Relay::start(shop.port(), "COMMIT", Fault::CutBefore).await;
        let options = TxOptions::new().verify_commit(true).isolation(isolation);
        let attempts = Attempts::default();
        let db = shop.through(relay.port);
        let notified = db.with(options).transaction("notify", async |mut tx| {
            attempts.is_first();
            // NOTIFY gets its transaction id in COMMIT.
            tx.batch_execute("NOTIFY no_id").await?;
            Ok::<_, AppError>(())
        });
        let error = notified.await.unwrap_err().ours();
        assert!(matches!(error.kind(), ErrorKind::CommitUnknown { xid: None }), "{error}");
        assert_eq!(attempts.count(), 1, "{isolation:?}");
    }
}

#[tokio::test]
async fn a_crash_changes_the_fence_and_the_verdict_stays_unknown() {
    let server = txsafe_testkit::Postgres::start().await.unwrap();
    let shop = Shop::on(server, "fence").await;
    let relay = Relay::start(shop.port(), "COMMIT", Fault::CutBefore).await;
    let db = shop.through(relay.port);
    let options = TxOptions::new().verify_commit(true).answer_timeout(Duration::from_secs(5));
    let ran = Arc::<AtomicBool>::default();
    let committed = db.with(options).transaction("fenced", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        let ran = Arc::clone(&ran);
        tx.after_rollback(async move || ran.store(true, Ordering::Relaxed));
        Ok::<_, AppError>(())
    });
    // Between the lost answer and the question, statistics are reset, as a crash does.
    relay.set_gate(false);
    let crash = async {
        crate::support::until("the lost answer", async || relay.is_done()).await;
        let reset_at = "SELECT extract(epoch FROM stats_reset)::bigint FROM pg_stat_bgwriter";
        let before = shop.ask(reset_at).await;
        crate::support::until("the reset", async || {
            let reset = "SELECT pg_stat_reset_shared('bgwriter')";
            shop.watcher.batch_execute(reset).await.unwrap();
            shop.ask(reset_at).await != before
        })
        .await;
        relay.set_gate(true);
    };
    let (result, ()) = tokio::join!(committed, crash);
    let error = result.unwrap_err().ours();
    assert!(matches!(error.kind(), ErrorKind::CommitUnknown { xid: Some(_) }), "{error}");
    assert!(!ran.load(Ordering::Relaxed), "no hook for what isn't known");
}

#[tokio::test]
async fn begin_cancelled_by_somebody_is_told() {
    let shop = Shop::open("unprotected").await;
    let relay = Relay::start(shop.port(), "BEGIN", Fault::Replace("SELECT 1/0")).await;
    let attempts = Attempts::default();
    let error = pay(&shop, &relay, &attempts, TxOptions::new()).await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::RanUnprotected);
    assert_eq!(error.outcome(), Outcome::Unknown);

    let relay = Relay::start(shop.port(), "BEGIN", Fault::Replace("SELECT 1/0")).await;
    let attempts = Attempts::default();
    let options = TxOptions::new().await_begin(true);
    let error = pay(&shop, &relay, &attempts, options).await.unwrap_err().ours();
    assert_eq!((error.kind(), attempts.count()), (&ErrorKind::Failed, 0), "nothing ran");
}
