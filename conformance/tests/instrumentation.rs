//! Diesel's instrumentation: its default and the application's own hear every statement beside ours, and one that can't be
//! chained is refused. One that takes the place of ours makes nothing untrue.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use deadpool_diesel::postgres;
use diesel::{
    Connection, PgConnection,
    connection::{
        Instrumentation, InstrumentationEvent, SimpleConnection, set_default_instrumentation,
    },
    r2d2::{self, ConnectionManager, CustomizeConnection},
};
use diesel_async::{
    AsyncConnection, AsyncPgConnection, SimpleAsyncConnection,
    pooled_connection::{AsyncDieselConnectionManager, deadpool},
};
use futures_util::FutureExt;
use std::sync::{
    Arc, Mutex, Once, PoisonError,
    atomic::{AtomicU32, Ordering::Relaxed},
};
use tokio::task::spawn_blocking;
use txsafe::{Error, NoOrder, Outcome};
use txsafe_conformance::shop::Shop;
use txsafe_diesel::blocking;

/// What Diesel's default instrumentation has heard.
static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Diesel's default.
struct Listens;

impl Instrumentation for Listens {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::FinishQuery { query, .. } = event {
            HEARD.lock().unwrap_or_else(PoisonError::into_inner).push(query.to_string());
        }
    }
}

/// How often the default has heard of a statement, since it was set before the first connection was made.
fn heard(sql: &str) -> usize {
    let heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
    heard.iter().filter(|query| query.contains(sql)).count()
}

/// The application's own.
#[derive(Debug, Clone, Default)]
struct Count(Arc<AtomicU32>);

impl Instrumentation for Count {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if matches!(event, InstrumentationEvent::FinishQuery { .. }) {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

async fn shop(name: &str) -> Shop {
    static DEFAULT: Once = Once::new();
    DEFAULT.call_once(|| set_default_instrumentation(|| Some(Box::new(Listens))).unwrap());
    Shop::open(name).await.unwrap()
}

type AsyncPool = deadpool::Pool<AsyncPgConnection>;
type R2d2Pool = r2d2::Pool<ConnectionManager<PgConnection>>;

/// Made by ours, and elsewhere.
fn async_pools(shop: &Shop) -> [AsyncPool; 2] {
    let elsewhere = AsyncDieselConnectionManager::new(&shop.url);
    [txsafe_diesel::manager(&shop.url), elsewhere]
        .map(|manager| deadpool::Pool::builder(manager).max_size(1).build().unwrap())
}

fn r2d2(shop: &Shop) -> R2d2Pool {
    let manager = ConnectionManager::new(&shop.url);
    r2d2::Pool::builder().max_size(1).min_idle(Some(0)).build(manager).unwrap()
}

fn deadpool_diesel(shop: &Shop) -> postgres::Pool {
    let manager = postgres::Manager::new(&shop.url, deadpool_diesel::Runtime::Tokio1);
    postgres::Pool::builder(manager).max_size(1).build().unwrap()
}

fn on_deadpool_diesel(pool: &postgres::Pool) -> blocking::Database<NoOrder, postgres::Pool> {
    blocking::Database::builder(pool.clone()).build().unwrap()
}

/// Refused before it began, with the cure.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, AppError>, cure: &str) {
    let said = result.unwrap_err().0.to_string();
    assert!(said.contains(&format!("add it by `{cure}`")), "{said}");
}

#[tokio::test]
async fn the_default_hears_every_statement() {
    let shop = shop("default").await;
    for pool in async_pools(&shop) {
        let db = txsafe_diesel::Database::builder(pool).build().unwrap();
        for _again in 0..2 {
            let said = db.transaction("said", async |mut tx| {
                tx.batch_execute("SELECT 'on diesel-async'").await?;
                Ok::<_, AppError>(())
            });
            said.await.unwrap();
        }
    }
    assert_eq!(heard("SELECT 'on diesel-async'"), 4);

    let pool = r2d2(&shop);
    let on_r2d2 = spawn_blocking(move || {
        let db = blocking::Database::builder(pool).build().unwrap();
        for _again in 0..2 {
            let said = db.transaction("said", |mut tx| {
                Ok::<_, AppError>(tx.batch_execute("SELECT 'on r2d2'")?)
            });
            said.unwrap();
        }
    });
    on_r2d2.await.unwrap();
    assert_eq!(heard("SELECT 'on r2d2'"), 2);

    let db = on_deadpool_diesel(&deadpool_diesel(&shop));
    for _again in 0..2 {
        let said = db.interact("said", |mut tx| {
            Ok::<_, AppError>(tx.batch_execute("SELECT 'on deadpool-diesel'")?)
        });
        said.await.unwrap();
    }
    assert_eq!(heard("SELECT 'on deadpool-diesel'"), 2);
}

#[tokio::test]
async fn one_that_was_set_is_refused_and_left_on_diesel_async() {
    const CURE: &str = "txsafe_diesel::chain_instrumentation";
    let shop = shop("refused").await;
    let nothing = async |mut tx: txsafe_diesel::Tx<'_>| {
        tx.batch_execute("SELECT 1").await?;
        Ok::<_, AppError>(())
    };
    for pool in async_pools(&shop) {
        let db = txsafe_diesel::Database::builder(pool.clone()).build().unwrap();
        let count = Count::default();
        // Before the first transaction; and after one that has put ours on it.
        for _again in 0..2 {
            pool.get().await.unwrap().set_instrumentation(count.clone());
            assert_refused(db.transaction("refused", nothing).await, CURE);
            let mut conn = pool.get().await.unwrap();
            assert!(conn.instrumentation().is::<Count>());
            assert_refused(db.transaction_on(&mut conn, "refused", nothing).await, CURE);
            assert!(conn.instrumentation().is::<Count>());

            txsafe_diesel::chain_instrumentation(&mut conn, count.clone());
            let before = count.0.load(Relaxed);
            db.transaction_on(&mut conn, "chained", nothing).await.unwrap();
            drop(conn);
            db.transaction("chained", nothing).await.unwrap();
            assert!(count.0.load(Relaxed) >= before + 4, "two statements and two COMMITs");
        }
    }
}

/// Sets it where r2d2 makes a connection, as an application does.
#[derive(Debug)]
struct Sets(Count);

impl CustomizeConnection<PgConnection, r2d2::Error> for Sets {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), r2d2::Error> {
        conn.set_instrumentation(self.0.clone());
        Ok(())
    }
}

#[tokio::test]
async fn one_that_was_set_is_refused_and_left_on_blocking_connections() {
    const CURE: &str = "txsafe_diesel::blocking::chain_instrumentation";
    let shop = shop("refused").await;
    let manager = ConnectionManager::<PgConnection>::new(&shop.url);
    let on_r2d2 = spawn_blocking(move || {
        let count = Count::default();
        let builder = blocking::pool_builder().max_size(1).test_on_check_out(false);
        let builder = builder.connection_customizer(Box::new(Sets(count.clone())));
        let pool = builder.build(manager).unwrap();
        let db = blocking::Database::builder(pool.clone()).build().unwrap();
        let nothing = |mut tx: blocking::Tx<'_>| Ok::<_, AppError>(tx.batch_execute("SELECT 1")?);
        for _again in 0..2 {
            assert_refused(db.transaction("refused", nothing), CURE);
            let mut conn = pool.get().unwrap();
            assert!(conn.instrumentation().is::<Count>());
            assert_refused(db.transaction_on(&mut conn, "refused", nothing), CURE);
            assert!(conn.instrumentation().is::<Count>());

            blocking::chain_instrumentation(&mut conn, count.clone());
            let before = count.0.load(Relaxed);
            db.transaction_on(&mut conn, "chained", nothing).unwrap();
            drop(conn);
            db.transaction("chained", nothing).unwrap();
            assert!(count.0.load(Relaxed) >= before + 6, "BEGIN, a statement and COMMIT, twice");
            // After ours has been on it.
            pool.get().unwrap().set_instrumentation(count.clone());
        }
    });
    on_r2d2.await.unwrap();

    let pool = deadpool_diesel(&shop);
    let db = on_deadpool_diesel(&pool);
    for _again in 0..2 {
        let set = |conn: &mut PgConnection| conn.set_instrumentation(Count::default());
        pool.get().await.unwrap().interact(set).await.unwrap();
        assert_refused(db.interact("refused", |_tx| Ok::<_, AppError>(())).await, CURE);
        let chain = |conn: &mut PgConnection| {
            assert!(conn.instrumentation().is::<Count>());
            blocking::chain_instrumentation(conn, Count::default());
        };
        pool.get().await.unwrap().interact(chain).await.unwrap();
        db.interact("chained", |_tx| Ok::<_, AppError>(())).await.unwrap();
    }
}

const CREDIT: &str = "UPDATE accounts SET balance = balance + 1 WHERE id = 1";

/// Failing in being run, and in being prepared.
const FAILING: [&str; 2] = ["SELECT 1/0", "SELECT * FROM nowhere"];

#[tokio::test]
async fn one_that_takes_the_place_of_ours_lets_nothing_become_ok_on_diesel_async() {
    let shop = shop("replaced").await;
    for sql in FAILING {
        for is_dropped in [false, true] {
            for pool in async_pools(&shop) {
                let db = txsafe_diesel::Database::builder(pool).build().unwrap();
                let swallowed = db.transaction("swallowed", async |mut tx| {
                    tx.batch_execute(CREDIT).await?;
                    tx.set_instrumentation(Count::default());
                    if is_dropped {
                        drop(tx.batch_execute(sql).now_or_never());
                    } else {
                        let _ignored = tx.batch_execute(sql).await;
                    }
                    Ok::<_, AppError>(())
                });
                let error = swallowed.await.unwrap_err().0;
                assert_eq!(error.outcome(), Outcome::RolledBack, "{sql}, {is_dropped}: {error}");
                assert!(is_dropped || error.is_rolled_back_at_commit(), "{sql}: {error}");
            }
        }
    }
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (100, 0));

    for pool in async_pools(&shop) {
        let db = txsafe_diesel::Database::builder(pool).build().unwrap();
        let committed = db.transaction("committed", async |mut tx| {
            tx.set_instrumentation(Count::default());
            tx.batch_execute(CREDIT).await?;
            Ok::<_, AppError>(())
        });
        committed.await.unwrap();
    }
    assert_eq!(shop.balance_of(1).await, 102);
}

#[tokio::test]
async fn one_that_takes_the_place_of_ours_lets_nothing_become_ok_on_blocking_connections() {
    let shop = shop("replaced").await;
    for sql in FAILING {
        let swallow = move |mut tx: blocking::Tx<'_>| {
            tx.batch_execute(CREDIT)?;
            tx.set_instrumentation(Count::default());
            let _ignored = tx.batch_execute(sql);
            Ok::<_, AppError>(())
        };
        let pool = r2d2(&shop);
        let on_r2d2 = spawn_blocking(move || {
            let db = blocking::Database::builder(pool).build().unwrap();
            db.transaction("swallowed", swallow).unwrap_err().0
        });
        let db = on_deadpool_diesel(&deadpool_diesel(&shop));
        let on_deadpool = db.interact("swallowed", swallow).await.unwrap_err().0;
        for error in [on_r2d2.await.unwrap(), on_deadpool] {
            assert!(error.is_rolled_back_at_commit(), "{sql}: {error}");
        }
    }
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (100, 0));

    let pool = r2d2(&shop);
    let committed = spawn_blocking(move || {
        let db = blocking::Database::builder(pool).build().unwrap();
        let committed = db.transaction("committed", |mut tx| {
            tx.set_instrumentation(Count::default());
            Ok::<_, AppError>(tx.batch_execute(CREDIT)?)
        });
        committed.unwrap();
    });
    committed.await.unwrap();
    assert_eq!(shop.balance_of(1).await, 101);
}

/// The library's error, or Diesel's in its words.
#[derive(Debug)]
struct AppError(Error);

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<diesel::result::Error> for AppError {
    fn from(error: diesel::result::Error) -> Self {
        panic!("{error}")
    }
}
