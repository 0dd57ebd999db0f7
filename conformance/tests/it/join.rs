//! Helpers that begin a transaction of their own, or join the one that is open, with one signature.

use crate::words::CREDIT;
use diesel::{PgConnection, connection::SimpleConnection, r2d2::ConnectionManager};
use diesel_async::{SimpleAsyncConnection, pooled_connection::deadpool};
use sqlx::Executor;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use txsafe_conformance::{error::AppError, script::raise, shop::Shop};
use txsafe_diesel::blocking;

/// What a helper is to do.
#[derive(Clone, Copy)]
enum Credit {
    Works,
    Fails,
    /// With a failure that asks for another attempt, as long as this is above zero.
    Collides(&'static AtomicU32),
}

impl Credit {
    fn sql(self) -> String {
        match self {
            Self::Works => CREDIT.to_owned(),
            Self::Fails => format!("{CREDIT}; INSERT INTO accounts VALUES (1, 0)"),
            Self::Collides(times) if times.load(Relaxed) > 0 => {
                times.fetch_sub(1, Relaxed);
                format!("{CREDIT}; {}", raise("40001"))
            }
            Self::Collides(_) => CREDIT.to_owned(),
        }
    }
}

/// A helper, what is tried of it, and how the driver runs it.
macro_rules! joins {
    ($module:ident, $driver:ident, |$tx:ident, $sql:ident| $run:expr, |$url:ident| $pool:expr) => {
        mod $module {
            use super::*;
            use $driver::{Database, Transact};

            async fn credit(on: impl Transact, credit: Credit) -> Result<u32, AppError> {
                let mut runs = AtomicU32::new(0);
                on.transaction("credit", async |mut $tx| {
                    runs.fetch_add(1, Relaxed);
                    let $sql = credit.sql();
                    $run.await?;
                    Ok::<_, AppError>(())
                })
                .await?;
                Ok(*runs.get_mut())
            }

            fn open(shop: &Shop) -> Database {
                let $url = shop.url.as_str();
                Database::builder($pool).build().unwrap()
            }

            #[tokio::test]
            async fn a_helper_begins_or_joins() {
                static TIMES: AtomicU32 = AtomicU32::new(2);
                let shop = Shop::open("join").await.unwrap();
                let db = open(&shop);
                // By itself it is tried again. It is `Send`, as a handler's future has to be.
                let of_task = db.clone();
                let task =
                    tokio::spawn(async move { credit(&of_task, Credit::Collides(&TIMES)).await });
                assert_eq!(task.await.unwrap().unwrap(), 3);
                credit(db.with(txsafe::TxOptions::new()), Credit::Works).await.unwrap();
                assert_eq!(shop.balance_of(1).await, 102);

                // In a closure it joins, and its failure is undone alone.
                let joined = db.transaction("joined", async |mut tx| {
                    credit(&mut tx, Credit::Works).await?;
                    credit(&mut tx, Credit::Fails).await.unwrap_err();
                    credit(&mut tx, Credit::Works).await
                });
                assert_eq!(joined.await.unwrap(), 1);
                assert_eq!(shop.balance_of(1).await, 104);

                // What asks for another attempt has the whole transaction tried again.
                TIMES.store(2, Relaxed);
                let again = db.transaction("again", async |mut tx| {
                    credit(&mut tx, Credit::Works).await?;
                    credit(&mut tx, Credit::Collides(&TIMES)).await
                });
                assert_eq!(again.await.unwrap(), 1);
                assert_eq!((TIMES.load(Relaxed), shop.balance_of(1).await), (0, 106));

                // And so it does where the transaction was begun by hand.
                let mut tx = db.begin("by hand").await.unwrap();
                credit(&mut tx, Credit::Works).await.unwrap();
                credit(&mut *tx, Credit::Works).await.unwrap();
                tx.rollback().await.unwrap();
                assert_eq!((shop.busy().await, shop.balance_of(1).await), (0, 106));
            }
        }
    };
}

joins!(of_diesel_async, txsafe_diesel, |tx, sql| tx.batch_execute(&sql), |url| {
    deadpool::Pool::builder(txsafe_diesel::manager(url)).max_size(2).build().unwrap()
});
joins!(of_sqlx, txsafe_sqlx, |tx, sql| tx.execute(sqlx::AssertSqlSafe(sql)), |url| {
    txsafe_sqlx::pool_options().max_connections(2).connect_lazy(url).unwrap()
});

fn credit(on: impl blocking::Transact, credit: Credit) -> Result<u32, AppError> {
    let mut runs = 0;
    on.transaction("credit", |mut tx| {
        runs += 1;
        tx.batch_execute(&credit.sql())?;
        Ok::<_, AppError>(())
    })?;
    Ok(runs)
}

#[tokio::test]
async fn a_helper_of_diesel_begins_or_joins() {
    static TIMES: AtomicU32 = AtomicU32::new(2);
    let shop = Shop::open("join").await.unwrap();
    let manager = ConnectionManager::<PgConnection>::new(&shop.url);
    let pool = blocking::pool_builder().max_size(2).build_unchecked(manager);
    let db = blocking::Database::builder(pool).build().unwrap();
    let run = move || {
        assert_eq!(credit(&db, Credit::Collides(&TIMES)).unwrap(), 3);
        TIMES.store(2, Relaxed);
        let joined = db.transaction("joined", |mut tx| {
            credit(&mut tx, Credit::Works)?;
            credit(&mut tx, Credit::Fails).unwrap_err();
            credit(&mut tx, Credit::Collides(&TIMES))
        });
        assert_eq!(joined.unwrap(), 1);
        let mut tx = db.begin("by hand").unwrap();
        credit(&mut tx, Credit::Works).unwrap();
        tx.commit().unwrap();
    };
    tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!((shop.busy().await, shop.balance_of(1).await), (0, 104));
}
