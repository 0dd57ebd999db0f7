//! Connections that were built elsewhere: less is seen, and what is said stays true.

use crate::{
    remedies::raise,
    support::{AppError, Attempts, Shop, credit},
};
use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel_async::{
    AsyncPgConnection, SimpleAsyncConnection,
    pooled_connection::{AsyncDieselConnectionManager, deadpool::Pool},
};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use txsafe_diesel::{Database, TxOptions, chain_instrumentation};
use txsafe_testkit::Postgres;

fn unobserved(shop: &Shop) -> Database {
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(&shop.url);
    Database::builder(Pool::builder(manager).max_size(2).build().unwrap()).build().unwrap()
}

#[tokio::test]
async fn what_diesel_tells_is_still_retried() {
    let shop = Shop::open("unobserved").await;
    let db = unobserved(&shop);
    let attempts = Attempts::default();
    let committed = db.transaction("40001", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        if attempts.is_first() {
            raise(&mut tx, "40001").await?;
        }
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!((attempts.count(), shop.balance_of(1).await), (2, 101));

    let attempts = Attempts::default();
    shop.watcher
        .batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2")
        .await
        .unwrap();
    let options = TxOptions::new().lock_timeout(std::time::Duration::from_millis(20));
    let retried = db.with(options).transaction("lock timeout", async |mut tx| {
        if attempts.is_first() {
            credit(&mut tx, 2, 1).await?;
        }
        Ok::<_, AppError>(())
    });
    retried.await.unwrap();
    assert_eq!(attempts.count(), 2);
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_swallowed_error_never_becomes_ok() {
    let shop = Shop::open("unobserved_swallow").await;
    let db = unobserved(&shop);
    let swallowed = db.transaction("swallowed", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        let _ignored = tx.batch_execute("SELECT 1/0").await;
        Ok::<_, AppError>(())
    });
    assert!(swallowed.await.unwrap_err().ours().is_rolled_back_at_commit());
    assert_eq!(shop.balance_of(1).await, 100);

    let savepoint = db.transaction("savepoint", async |mut tx| {
        let failed = tx.savepoint(async |mut tx| Ok::<_, AppError>(raise(&mut tx, "P0001").await?));
        assert!(failed.await.is_err());
        credit(&mut tx, 1, 1).await?;
        Ok::<_, AppError>(())
    });
    savepoint.await.unwrap();
    assert_eq!(shop.balance_of(1).await, 101);
    assert_eq!(shop.busy().await, 0);
}

#[tokio::test]
async fn servers_that_speak_other_languages_are_understood() {
    for locale in ["de_DE.UTF-8", "ja_JP.UTF-8", "ru_RU.UTF-8"] {
        let server = Postgres::builder().locale(locale).start().await.unwrap();
        let shop = Shop::on(server, "languages").await;
        let db = unobserved(&shop);
        let said = shop.watcher.batch_execute("SELECT FROM nowhere").await.unwrap_err();
        assert!(!said.as_db_error().unwrap().message().contains("does not exist"), "{said:?}");
        shop.watcher
            .batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2")
            .await
            .unwrap();
        let attempts = Attempts::default();
        let retried = db.transaction("lock timeout", async |mut tx| {
            if attempts.is_first() {
                credit(&mut tx, 2, 1).await?;
            }
            Ok::<_, AppError>(())
        });
        retried.await.unwrap();
        assert_eq!(attempts.count(), 2, "{locale}");
    }
}

struct Count(Arc<AtomicU32>);

impl Instrumentation for Count {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        let InstrumentationEvent::FinishQuery { query, .. } = &event else { return };
        // Which database it is, is asked where this process has another one, as other tests have.
        if !query.to_string().contains("current_database") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn the_callers_instrumentation_is_chained() {
    let shop = Shop::with("chained", 1, |builder| builder).await;
    let count = Arc::<AtomicU32>::default();
    let mut conn = shop.db.pool().get().await.unwrap();
    chain_instrumentation(&mut conn, Count(Arc::clone(&count)));
    drop(conn);
    let attempts = Attempts::default();
    let committed = shop.db.transaction("chained", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        if attempts.is_first() {
            raise(&mut tx, "40P01").await?;
        }
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!(attempts.count(), 2, "still observed");
    // The session's limits, once; UPDATE, DO, ROLLBACK; UPDATE, COMMIT.
    assert_eq!(count.load(Ordering::Relaxed), 1 + 5);
}
