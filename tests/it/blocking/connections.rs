//! Where connections come from, and what becomes of those that fail.

use super::{credit, database, deadpool, pid, raise};
use crate::support::{AppError, Attempts, Shop, until};
use diesel::{
    connection::SimpleConnection,
    prelude::*,
    r2d2::{ConnectionManager, Pool},
};
use std::{sync::Arc, time::Duration};
use txsafe_diesel::{
    IDEMPOTENCY_KEYS_SQL, Keyed, TxOptions,
    blocking::{Database, Tx},
};

#[tokio::test]
async fn on_a_connection_that_the_caller_holds() {
    let shop = Shop::open("blocking_held").await;
    let db = database(&shop, 2);
    let attempts = Attempts::default();
    let mut plain = PgConnection::establish(&shop.url).unwrap();
    let retried = db.transaction_on(&mut plain, "plain", |mut tx| {
        credit(&mut tx, 1, 1)?;
        if attempts.is_first() {
            raise(&mut tx, "40001", "raised")?;
        }
        Ok::<_, AppError>(())
    });
    retried.unwrap();
    assert_eq!((attempts.count(), shop.balance_of(1).await), (2, 101));
    credit(&mut plain, 1, 1).unwrap();

    // A pool's object that was killed gets a new connection; a plain one can't.
    let mut pooled = db.pool().get().unwrap();
    for is_pooled in [true, false] {
        let before = pid(if is_pooled { &mut pooled } else { &mut plain }).unwrap();
        shop.watcher.execute("SELECT pg_terminate_backend($1)", &[&before]).await.unwrap();
        let work = |mut tx: Tx<'_>| {
            credit(&mut tx, 2, 1)?;
            Ok::<_, AppError>(pid(&mut tx)?)
        };
        if is_pooled {
            assert_ne!(db.transaction_on(&mut pooled, "killed", work).unwrap(), before);
            assert_ne!(pid(&mut pooled).unwrap(), before, "goes on with the new one");
        } else {
            let error = db.transaction_on(&mut plain, "killed", work).unwrap_err().ours();
            assert_eq!(error.report().unwrap().attempts, 1, "{error}");
        }
    }
    assert_eq!(shop.balance_of(2).await, 101);
    drop(pooled);

    // One of the pool that was killed is never met twice.
    let mut pooled = db.pool().get().unwrap();
    let before = pid(&mut pooled).unwrap();
    drop(pooled);
    shop.watcher.execute("SELECT pg_terminate_backend($1)", &[&before]).await.unwrap();
    db.transaction("killed", |mut tx| Ok::<_, AppError>(credit(&mut tx, 2, 1)?)).unwrap();
    assert_eq!(shop.balance_of(2).await, 102);
}

#[tokio::test]
async fn a_connection_killed_inside_is_replaced() {
    let shop = Shop::open("blocking_killed").await;
    let db = database(&shop, 1);
    let attempts = Attempts::default();
    let runtime = tokio::runtime::Handle::current();
    let shop = Arc::new(shop);
    // The watcher's connection needs this thread.
    let (watched, counted) = (Arc::clone(&shop), Arc::new(attempts));
    let count = Arc::clone(&counted);
    let done = tokio::task::spawn_blocking(move || {
        db.transaction("killed", |mut tx| {
            credit(&mut tx, 1, 1)?;
            if count.is_first() {
                let pid = pid(&mut tx)?;
                let kill = async {
                    watched.watcher.execute("SELECT pg_terminate_backend($1)", &[&pid]).await
                };
                assert_eq!(runtime.block_on(kill).unwrap(), 1);
                credit(&mut tx, 1, 1)?;
            }
            Ok::<_, AppError>(())
        })
    });
    done.await.unwrap().unwrap();
    assert_eq!((counted.count(), shop.balance_of(1).await), (2, 101));
}

#[tokio::test]
async fn without_a_free_connection_it_says_so() {
    let shop = Shop::open("blocking_full").await;
    let db = database(&shop, 1);
    let _held = db.pool().get().unwrap();
    let options = TxOptions::new().checkout_timeout(Duration::from_millis(5));
    let none = db.with(options).transaction("full", |_tx| Ok::<_, AppError>(()));
    let text = none.unwrap_err().ours().to_string();
    assert!(text.contains("no connection came free"), "{text}");

    let manager = ConnectionManager::<PgConnection>::new("postgres://nobody@127.0.0.1:1/x");
    let builder = Pool::builder().max_size(1).min_idle(Some(0));
    let nobody =
        builder.error_handler(Box::new(diesel::r2d2::NopErrorHandler)).build_unchecked(manager);
    let db =
        Database::builder(nobody).checkout_timeout(Duration::from_millis(300)).build().unwrap();
    let options = TxOptions::new().timeout(Duration::from_secs(1));
    let refused = db.with(options).transaction("refused", |_tx| Ok::<_, AppError>(()));
    let error = refused.unwrap_err().ours();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn over_deadpool_from_async_code() {
    let shop = Shop::open("blocking_deadpool").await;
    shop.watcher.batch_execute(IDEMPOTENCY_KEYS_SQL).await.unwrap();
    let db = Database::builder(deadpool(&shop)).service("deadpool").build().unwrap();
    let attempts = Arc::<Attempts>::default();
    let counted = Arc::clone(&attempts);
    let left = db.interact("interact", move |mut tx| {
        credit(&mut tx, 1, 1)?;
        if counted.is_first() {
            raise(&mut tx, "40P01", "deadlock detected")?;
        }
        Ok::<_, AppError>(7)
    });
    assert_eq!(left.await.unwrap(), 7);
    assert_eq!((attempts.count(), shop.balance_of(1).await), (2, 101));

    let given = String::from("given away");
    let once = db.interact_once("once", move |_tx| Ok::<_, AppError>(given));
    assert_eq!(once.await.unwrap(), "given away");

    for again in [Keyed::Ran(1), Keyed::AlreadyCommitted] {
        let keyed = db.idempotency_key("k").interact("keyed", |mut tx| {
            credit(&mut tx, 1, 1)?;
            Ok::<_, AppError>(1)
        });
        assert_eq!(keyed.await.unwrap(), again);
    }
    assert_eq!(shop.balance_of(1).await, 102);

    // Inside deadpool-diesel's own `interact`, on the connection at hand.
    let object = db.pool().get().await.unwrap();
    let inner = db.clone();
    let on_it = object.interact(move |conn| {
        let attempts = Attempts::default();
        inner.transaction_on(conn, "on it", |mut tx| {
            credit(&mut tx, 1, 1)?;
            if attempts.is_first() {
                raise(&mut tx, "40001", "raised")?;
            }
            Ok::<_, AppError>(())
        })
    });
    on_it.await.unwrap().unwrap();
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (103, 0));

    // The transaction goes on when nobody waits for it any more.
    let dropped = db.interact("dropped", |mut tx| Ok::<_, AppError>(credit(&mut tx, 1, 1)?));
    assert!(futures_util::FutureExt::now_or_never(dropped).is_none());
    until("its commit", async || shop.balance_of(1).await == 104).await;

    // One that ended in doubt never comes back.
    let mut last = None;
    for _round in 0..3 {
        let ended = db.interact("ended", |mut tx| {
            tx.batch_execute("COMMIT")?;
            Ok::<_, AppError>(())
        });
        assert!(ended.await.is_err());
        let pid = db.interact("pid", |mut tx| Ok::<_, AppError>(pid(&mut tx)?)).await.unwrap();
        assert_ne!(last.replace(pid), Some(pid));
    }
}

/// A session that has given its connection back must leave it alone: somebody else may have begun on it. It didn't, and
/// whoever came next was told `EndedByClosure` if a thread was interrupted in between; so many threads, many times.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_given_back_is_another_threads() {
    let shop = Shop::open("blocking_given_back").await;
    let db = database(&shop, 1);
    let work = || {
        for _ in 0..500 {
            let done = db.transaction("next", |mut tx| {
                tx.batch_execute("SELECT 1")?;
                Ok::<_, AppError>(())
            });
            done.unwrap();
        }
    };
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(work))));
    });
}
