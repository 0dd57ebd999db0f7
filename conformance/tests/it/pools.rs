//! How full a pool is, as its gauges tell it: the same of every pool, but that only deadpool knows who waits.

use diesel::{PgConnection, r2d2};
use diesel_async::pooled_connection::deadpool;
use futures_util::FutureExt;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use sqlx::postgres::PgPoolOptions;
use std::{pin::pin, time::Duration};
use tokio::{runtime, sync::Barrier};
use txsafe::{Error, NoOrder, RetryPolicy, TxOptions};
use txsafe_testkit::Postgres;

/// What the gauges of the pool `shop` say, each as `name{state} value`, by name. Whatever runs has the recorder of this
/// thread: tests run side by side.
struct Gauges(DebuggingRecorder);

impl Gauges {
    fn recording<T>(test: impl AsyncFnOnce(&Self) -> T) -> T {
        let gauges = Self(DebuggingRecorder::new());
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        metrics::with_local_recorder(&gauges.0, || runtime.block_on(test(&gauges)))
    }

    /// The recorder forgets what it has been asked for: what is told here was set since the last time.
    fn told(&self) -> Vec<String> {
        let snapshot = self.0.snapshotter().snapshot().into_vec();
        let gauges = snapshot.into_iter().filter_map(|(key, _, _, value)| {
            let DebugValue::Gauge(value) = value else { return None };
            let (name, mut labels) = (key.key().name(), key.key().labels());
            let pool = labels.next().unwrap();
            assert_eq!((pool.key(), pool.value()), ("pool", "shop"));
            let state: Vec<_> = labels.map(|l| format!("{}={}", l.key(), l.value())).collect();
            Some(format!("{name}{{{}}} {value}", state.join(",")))
        });
        let mut gauges: Vec<_> = gauges.collect();
        gauges.sort();
        gauges
    }

    #[track_caller]
    fn assert(&self, idle: usize, in_use: usize, waiting: Option<usize>) {
        let mut expected = vec![
            format!("txsafe_pool_connections{{state=idle}} {idle}"),
            format!("txsafe_pool_connections{{state=in_use}} {in_use}"),
            "txsafe_pool_max_connections{} 2".to_owned(),
        ];
        expected.extend(waiting.map(|waiting| format!("txsafe_pool_waiting{{}} {waiting}")));
        assert_eq!(self.told(), expected);
    }
}

#[test]
fn of_a_deadpool() {
    Gauges::recording(async |gauges| {
        let server = Postgres::shared().await.unwrap();
        let schema = server.schema("gauges").await.unwrap();
        let manager = txsafe_diesel::manager(schema.url());
        let pool = deadpool::Pool::builder(manager).max_size(2).build().unwrap();
        let db = txsafe_diesel::Database::builder(pool).pool_name("shop").build().unwrap();
        assert!(gauges.told().is_empty(), "no transaction has told of it");

        let gate = Barrier::new(2);
        let mut held = pin!(db.transaction("held", async |_tx| {
            gate.wait().await;
            gate.wait().await;
            Ok::<_, Error>(())
        }));
        // It stays in the middle.
        tokio::select! { biased; _ = &mut held => unreachable!("it waits"), _ = gate.wait() => {} }
        gauges.assert(0, 1, Some(0));

        let other = db.pool().get().await.unwrap();
        let mut waits = pin!(db.transaction("waits", async |_tx| Ok::<_, Error>(())));
        assert!((&mut waits).now_or_never().is_none());
        assert!(db.pool_state().is_exhausted());
        // Whoever gives up waiting tells of it, too.
        let impatient = TxOptions::new().checkout_timeout(Duration::from_millis(1));
        let impatient = db.with(impatient.retry(RetryPolicy::new().max_attempts(1)));
        let failed = impatient.transaction("impatient", async |_tx| Ok::<_, Error>(())).await;
        assert!(failed.is_err());
        gauges.assert(0, 2, Some(1));

        drop(other);
        waits.await.unwrap();
        let (held, _) = tokio::join!(held, gate.wait());
        held.unwrap();
        gauges.assert(0, 2, Some(0));
        // Nobody takes one any more, and the gauges would say for ever what was.
        db.record_pool_state();
        gauges.assert(2, 0, Some(0));
    });
}

#[test]
fn of_a_pool_of_sqlx() {
    Gauges::recording(async |gauges| {
        let server = Postgres::shared().await.unwrap();
        let schema = server.schema("gauges").await.unwrap();
        let pool = PgPoolOptions::new().max_connections(2).connect(schema.url()).await.unwrap();
        let db = txsafe_sqlx::Database::builder(pool).pool_name("shop").build().unwrap();
        assert!(gauges.told().is_empty(), "no transaction has told of it");

        let gate = Barrier::new(2);
        let mut held = pin!(db.transaction("held", async |_tx| {
            gate.wait().await;
            gate.wait().await;
            Ok::<_, Error>(())
        }));
        tokio::select! { biased; _ = &mut held => unreachable!("it waits"), _ = gate.wait() => {} }
        gauges.assert(0, 1, None);

        let other = db.pool().acquire().await.unwrap();
        let mut waits = pin!(db.transaction("waits", async |_tx| Ok::<_, Error>(())));
        assert!((&mut waits).now_or_never().is_none());
        db.record_pool_state();
        gauges.assert(0, 2, None);
        assert!(db.pool_state().is_exhausted());

        drop(other);
        waits.await.unwrap();
        let (held, _) = tokio::join!(held, gate.wait());
        held.unwrap();
        // They go back by tasks of SQLx.
        while db.pool_state().idle < 2 {
            tokio::task::yield_now().await;
        }
        db.record_pool_state();
        gauges.assert(2, 0, None);
    });
}

#[test]
fn of_an_r2d2_pool() {
    Gauges::recording(async |gauges| {
        let server = Postgres::shared().await.unwrap();
        let schema = server.schema("gauges").await.unwrap();
        let manager = r2d2::ConnectionManager::<PgConnection>::new(schema.url());
        let pool = r2d2::Pool::builder().max_size(2).build(manager).unwrap();
        let db = txsafe_diesel::blocking::Database::builder(pool);
        let db = db.pool_name("shop").build().unwrap();
        assert!(gauges.told().is_empty(), "no transaction has told of it");

        let held = db.transaction("held", |_tx| {
            gauges.assert(1, 1, None);
            let other = db.pool().get().unwrap();
            db.record_pool_state();
            gauges.assert(0, 2, None);
            assert!(db.pool_state().is_exhausted());
            drop(other);
            Ok::<_, Error>(())
        });
        held.unwrap();
        db.record_pool_state();
        gauges.assert(2, 0, None);
    });
}

#[test]
fn of_a_pool_of_deadpool_diesel() {
    use deadpool_diesel::{Runtime, postgres};
    use txsafe_diesel::blocking::Database;

    Gauges::recording(async |gauges| {
        let server = Postgres::shared().await.unwrap();
        let schema = server.schema("gauges").await.unwrap();
        let manager = postgres::Manager::new(schema.url(), Runtime::Tokio1);
        let pool = postgres::Pool::builder(manager).max_size(2).build().unwrap();
        let db: Database<NoOrder, _> = Database::builder(pool).pool_name("shop").build().unwrap();

        let other = db.pool().get().await.unwrap();
        let another = db.pool().get().await.unwrap();
        // On a thread of its own, which has another recorder.
        let mut waits = pin!(db.interact("waits", |_tx| Ok::<_, Error>(())));
        while db.pool_state().waiting != Some(1) {
            assert!((&mut waits).now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        db.record_pool_state();
        gauges.assert(0, 2, Some(1));
        assert!(db.pool_state().is_exhausted());

        drop((other, another));
        waits.await.unwrap();
        db.record_pool_state();
        gauges.assert(2, 0, Some(0));
    });
}

#[test]
fn pools_without_a_name_are_told_apart() {
    Gauges::recording(async |gauges| {
        let pool = || PgPoolOptions::new().connect_lazy("postgres://shop@localhost/shop").unwrap();
        let databases = [(); 2].map(|()| txsafe_sqlx::Database::builder(pool()).build().unwrap());
        databases.iter().for_each(txsafe_sqlx::Database::record_pool_state);
        let snapshot = gauges.0.snapshotter().snapshot().into_vec();
        let maxima = snapshot.iter().filter(|(key, ..)| key.key().name().contains("max"));
        assert_eq!(maxima.count(), 2);
    });
}
