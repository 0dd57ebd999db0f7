//! Savepoints: undone by themselves, and never left open.

use crate::{
    remedies::raise,
    support::{AppError, Attempts, Shop, credit},
};
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use txsafe_diesel::ErrorKind;

#[tokio::test]
async fn what_fails_inside_is_undone_and_the_rest_stays() {
    let shop = Shop::open("savepoint").await;
    let committed = shop.db.transaction("savepoint", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        let failed = tx.savepoint(async |mut tx| {
            credit(&mut tx, 2, 1).await?;
            tx.batch_execute("SELECT 1/0").await?;
            Ok::<_, AppError>(())
        });
        assert!(matches!(failed.await, Err(AppError::Opaque)));
        // Diesel's own nested transactions are savepoints too.
        let nested = tx.transaction(async |conn| {
            credit(conn, 3, 1).await?;
            Ok::<_, diesel::result::Error>(())
        });
        nested.await?;
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    let balances = [shop.balance_of(1).await, shop.balance_of(2).await, shop.balance_of(3).await];
    assert_eq!(balances, [101, 100, 101]);
}

#[tokio::test]
async fn a_transient_failure_inside_runs_the_whole_transaction_again() {
    let shop = Shop::open("savepoint_retry").await;
    let attempts = Attempts::default();
    let committed = shop.db.transaction("outer", async |mut tx| {
        let is_first = attempts.is_first();
        credit(&mut tx, 1, 1).await?;
        let inner = tx.savepoint(async |mut tx| {
            if is_first {
                raise(&mut tx, "40P01").await?;
            }
            credit(&mut tx, 2, 1).await?;
            Ok::<_, AppError>(())
        });
        inner.await
    });
    committed.await.unwrap();
    assert_eq!(attempts.count(), 2);
    assert_eq!((shop.balance_of(1).await, shop.balance_of(2).await), (101, 101));
}

#[tokio::test]
async fn one_that_was_handled_long_ago_does_not_make_the_callers_error_transient() {
    let shop = Shop::open("savepoint_handled").await;
    let attempts = Attempts::default();
    let failed = shop.db.transaction("handled", async |mut tx| {
        attempts.is_first();
        let inner = tx.savepoint(async |mut tx| Ok::<_, AppError>(raise(&mut tx, "55P03").await?));
        assert!(inner.await.is_err());
        credit(&mut tx, 1, 1).await?;
        Err::<(), _>(AppError::Own("out of stock"))
    });
    assert!(matches!(failed.await, Err(AppError::Own("out of stock"))));
    assert_eq!(attempts.count(), 1);
}

#[tokio::test]
async fn a_failure_swallowed_inside_undoes_the_savepoint() {
    let shop = Shop::open("savepoint_swallow").await;
    let committed = shop.db.transaction("outer", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        let swallowing = tx.savepoint(async |mut tx| {
            credit(&mut tx, 2, 1).await?;
            let _ignored = tx.batch_execute("SELECT 1/0").await;
            Ok::<_, AppError>(())
        });
        assert!(swallowing.await.is_err(), "it can't be released");
        credit(&mut tx, 3, 1).await?;
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    let balances = [shop.balance_of(1).await, shop.balance_of(2).await, shop.balance_of(3).await];
    assert_eq!(balances, [101, 100, 101]);
}

#[tokio::test]
async fn one_that_was_dropped_is_not_committed_around() {
    let shop = Shop::open("savepoint_dropped").await;
    let dropping = shop.db.transaction("dropping", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        let endless = tx.savepoint(async |mut tx| {
            credit(&mut tx, 2, 1).await?;
            std::future::pending::<()>().await;
            Ok::<_, AppError>(())
        });
        let mut endless = Box::pin(endless);
        // Until it has updated its row and waits for ever.
        while shop.written_rows().await < 2 {
            assert!(endless.as_mut().now_or_never().is_none());
        }
        drop(endless);
        Ok::<_, AppError>(())
    });
    let error = dropping.await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::SavepointLeftOpen, "{error}");
    crate::support::until("the end", async || shop.busy().await == 0).await;
    assert_eq!(shop.balance_of(1).await, 100);
}
