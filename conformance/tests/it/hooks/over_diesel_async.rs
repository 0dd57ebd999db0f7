//! diesel-async: deadpool's hooks, which it keeps all, and the manager's setup and recycling, which are ours or the
//! application's.

use super::{END, House, Log, WHOSE, Whose};
use diesel::{ConnectionError, QueryResult};
use diesel_async::{
    AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, PoolError, RecyclingMethod,
        deadpool::{Hook, HookError, Pool},
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use tokio_postgres::{Config, NoTls};
use txsafe_diesel::{Database, Error, connect, guard::connection_taken, manager};

async fn whose(conn: &mut AsyncPgConnection) -> QueryResult<String> {
    diesel::sql_query(WHOSE).get_result::<Whose>(conn).await.map(|whose| whose.name)
}

fn noting(log: &Log, what: &'static str) -> Hook<AsyncPgConnection> {
    let log = log.clone();
    Hook::sync_fn(move |_, _| {
        log.note(what);
        Ok(())
    })
}

fn moving_in(house: &House) -> Hook<AsyncPgConnection> {
    let move_in = house.move_in();
    Hook::async_fn(move |conn: &mut AsyncPgConnection, _| {
        let move_in = move_in.clone();
        Box::pin(async move {
            let moved = conn.batch_execute(&move_in).await;
            moved.map_err(|error| HookError::Backend(PoolError::QueryError(error)))
        })
    })
}

/// What a transaction reads, and what happened when its connection and another one were taken.
async fn report(db: &Database, log: &Log) -> (String, [Vec<String>; 2]) {
    let reported = db.transaction("report", async |mut tx| {
        let first = log.take();
        drop(db.pool().get().await.unwrap());
        Ok::<_, Error>((whose(&mut tx).await.unwrap(), [first, log.take()]))
    });
    reported.await.unwrap()
}

/// Ours is the manager's: behind `pre_recycle`, and before all others.
#[tokio::test]
async fn the_pools_hooks_run_around_the_managers() {
    let (house, log) = (House::build().await, Log::default());
    let pool = Pool::builder(manager(house.url()))
        .max_size(2)
        .post_create(moving_in(&house))
        .post_create(noting(&log, "created"))
        .pre_recycle(noting(&log, "to be recycled"))
        .post_recycle(noting(&log, "recycled"))
        .build()
        .unwrap();
    for events in [
        [&["created"][..], &["TXS005", "created"]],
        [&["to be recycled", "recycled"], &["to be recycled", "TXS005", "recycled"]],
    ] {
        let db = Database::builder(pool.clone()).guard(log.guard()).build().unwrap();
        let (read, told) = report(&db, &log).await;
        assert_eq!((read.as_str(), told), ("tenant", events.map(<[_]>::to_vec).map(owned)));
    }
}

fn owned(events: Vec<&str>) -> Vec<String> {
    events.into_iter().map(str::to_owned).collect()
}

/// A manager of the application's own, whose setup calls `connect`. Its pool tells the guard if it says so itself.
#[tokio::test]
async fn a_manager_with_a_setup_and_a_recycling_of_its_own() {
    let (house, log) = (House::build().await, Log::default());
    for tells in [true, false] {
        let taken = move || {
            if tells {
                connection_taken("a pool of the test's");
            }
        };
        let mut setup = ManagerConfig::<AsyncPgConnection>::default();
        let (move_in, created, recycled) = (house.move_in(), log.clone(), log.clone());
        setup.custom_setup = Box::new(move |url| {
            taken();
            let (config, move_in) = (url.parse::<Config>().unwrap(), move_in.clone());
            let log = created.clone();
            Box::pin(async move {
                let mut conn = connect(config, NoTls).await?;
                let moved = conn.batch_execute(&move_in).await;
                moved.map_err(ConnectionError::CouldntSetupConfiguration)?;
                log.note("created");
                Ok(conn)
            })
        });
        setup.recycling_method = RecyclingMethod::CustomFunction(Box::new(move |conn| {
            taken();
            let log = recycled.clone();
            Box::pin(async move {
                log.note(whose(conn).await?);
                Ok(())
            })
        }));
        let manager = AsyncDieselConnectionManager::new_with_config(house.url(), setup);
        let pool = Pool::builder(manager).max_size(2).build().unwrap();
        for event in ["created", "tenant"] {
            let db = Database::builder(pool.clone()).guard(log.guard()).build().unwrap();
            let (read, told) = report(&db, &log).await;
            let second = if tells { vec!["TXS005", event] } else { vec![event] };
            assert_eq!((read.as_str(), told), ("tenant", [owned(vec![event]), owned(second)]));
        }
    }
}

/// The pool is full with the lost one; and what is put in its place is the pool's from then on.
#[tokio::test]
async fn a_connection_in_the_place_of_a_lost_one_is_set_up_too() {
    let (house, reads) = (House::build().await, Log::default());
    let builder = Pool::builder(manager(house.url())).max_size(1).post_create(moving_in(&house));
    let pool = builder.build().unwrap();
    let db = Database::builder(pool.clone()).build().unwrap();
    let mut held = pool.get().await.unwrap();
    let read = db.transaction_on(&mut held, "report", async |mut tx| {
        reads.note(whose(&mut tx).await.unwrap());
        if reads.len() == 1 {
            tx.batch_execute(END).await.unwrap_err();
        }
        Ok::<_, Error>(())
    });
    read.await.unwrap();
    assert_eq!(reads.take(), ["tenant", "tenant"]);
    assert_eq!(whose(&mut held).await.unwrap(), "tenant");
    drop(held);
    assert_eq!(pool.status().size, 1);
    assert_eq!(whose(&mut pool.get().await.unwrap()).await.unwrap(), "tenant");
}

/// Nobody gets a connection that isn't set up, when there is none to put in the place of a lost one.
#[tokio::test]
async fn a_connection_that_cannot_be_set_up_is_not_used() {
    let house = House::build().await;
    let breaks = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&breaks);
    let broken = Hook::async_fn(move |conn: &mut AsyncPgConnection, _| {
        let sql = if AtomicBool::load(&is_broken, Relaxed) { "SELECT 1/0" } else { "SELECT 1" };
        Box::pin(async move {
            let ran = conn.batch_execute(sql).await;
            ran.map_err(|error| HookError::Backend(PoolError::QueryError(error)))
        })
    });
    let builder = Pool::builder(manager(house.url())).max_size(1);
    let pool = builder.post_create(broken).post_create(moving_in(&house)).build().unwrap();
    let db = Database::builder(pool.clone()).build().unwrap();
    let mut held = pool.get().await.unwrap();
    held.batch_execute(END).await.unwrap_err();
    breaks.store(true, Relaxed);
    for _ in 0..2 {
        let failed = db.transaction_on(&mut held, "report", async |_tx| Ok::<_, Error>(()));
        failed.await.unwrap_err();
        assert!(whose(&mut held).await.is_err());
    }
    breaks.store(false, Relaxed);
    // Its place came free, though it is still held.
    assert_eq!(whose(&mut pool.get().await.unwrap()).await.unwrap(), "tenant");
    drop(held);
    assert_eq!(pool.status().size, 1);
}
