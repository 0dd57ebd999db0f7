//! SQLx: `after_connect` and `before_acquire`.

use super::{END, House, Log, WHOSE};
use sqlx::{
    AssertSqlSafe, Executor, PgConnection, PgPool, pool::PoolOptions, postgres::PgPoolOptions,
    query, query_scalar,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use txsafe_sqlx::{Database, Error, PoolHooks, pool_options, pool_options_with};

/// Each new connection notes that it moves in, and where it then is; each one that is used again notes where it is.
fn moving_in(house: &House, log: &Log) -> PoolHooks {
    let [moving, moved, used] = [log.clone(), log.clone(), log.clone()];
    let move_in = house.move_in();
    PoolHooks::new()
        .after_connect(move |conn, metadata| {
            assert!(metadata.age.is_zero());
            moving.note("moves in");
            let move_in = AssertSqlSafe(move_in.clone());
            Box::pin(async move { conn.execute(move_in).await.map(drop) })
        })
        .after_connect(move |conn, _metadata| {
            let log = moved.clone();
            Box::pin(async move {
                log.note(whose(conn).await?);
                Ok(())
            })
        })
        .before_acquire(move |conn, metadata| {
            assert!(!metadata.age.is_zero());
            let log = used.clone();
            Box::pin(async move {
                log.note(whose(conn).await?);
                Ok(true)
            })
        })
}

async fn whose(conn: &mut PgConnection) -> Result<String, sqlx::Error> {
    query_scalar(WHOSE).fetch_one(conn).await
}

/// Connections go back by tasks of SQLx.
async fn until_idle(pool: &PgPool, connections: usize) {
    while pool.num_idle() < connections {
        tokio::task::yield_now().await;
    }
}

/// What a transaction reads, and what happened when its connection and another one were taken.
async fn report(db: &Database, log: &Log) -> (String, Vec<String>, Vec<String>) {
    let reported = db.transaction("report", async |mut tx| {
        let read = query_scalar(WHOSE).fetch_one(&mut tx).await.unwrap();
        let first = log.take();
        drop(db.pool().acquire().await.unwrap());
        Ok::<_, Error>((read, first, log.take()))
    });
    let reported = reported.await.unwrap();
    until_idle(db.pool(), 2).await;
    reported
}

#[tokio::test]
async fn the_applications_hooks_run_in_order_and_the_guard_is_told_before() {
    let (house, log) = (House::build().await, Log::default());
    let options = pool_options_with(moving_in(&house, &log)).max_connections(2);
    let pool = options.connect_lazy(house.url()).unwrap();
    for hooks in [&["moves in", "tenant"][..], &["tenant"]] {
        let db = Database::builder(pool.clone()).guard(log.guard()).build().unwrap();
        let (read, first, second) = report(&db, &log).await;
        assert_eq!(
            (read.as_str(), first),
            ("tenant", hooks.iter().map(ToString::to_string).collect())
        );
        assert_eq!(second, [&["TXS005"], hooks].concat());
    }
}

#[tokio::test]
async fn hooks_that_fail_or_refuse_are_obeyed() {
    let (house, log) = (House::build().await, Log::default());
    let [fails, refuses, breaks] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let [is_failing, is_refusing, is_breaking] = [&fails, &refuses, &breaks].map(Arc::clone);
    let [connected, acquired] = [log.clone(), log.clone()];
    let hooks = PoolHooks::new()
        .after_connect(move |conn, _metadata| {
            let sql = if is_failing.swap(false, Relaxed) { "SELECT 1/0" } else { "SELECT 1" };
            Box::pin(async move { conn.execute(sql).await.map(drop) })
        })
        .after_connect(move |_conn, _metadata| {
            connected.note("connected");
            Box::pin(std::future::ready(Ok(())))
        })
        .before_acquire(move |_conn, _metadata| {
            Box::pin(std::future::ready(Ok(!is_refusing.swap(false, Relaxed))))
        })
        .before_acquire(move |conn, _metadata| {
            let sql = if is_breaking.swap(false, Relaxed) { "SELECT 1/0" } else { "SELECT 1" };
            Box::pin(async move { conn.execute(sql).await.map(|_done| true) })
        })
        .before_acquire(move |_conn, _metadata| {
            acquired.note("acquired");
            Box::pin(std::future::ready(Ok(true)))
        });
    let pool = pool_options_with(hooks).max_connections(1).connect_lazy(house.url()).unwrap();
    let acquire = async || {
        let mut conn = pool.acquire().await.unwrap();
        let pid: i32 = query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *conn).await.unwrap();
        drop(conn);
        until_idle(&pool, 1).await;
        (pid, log.take())
    };

    fails.store(true, Relaxed);
    let (first, events) = acquire().await;
    assert_eq!((events, fails.load(Relaxed)), (vec!["connected".to_owned()], false));
    assert_eq!(acquire().await, (first, vec!["acquired".to_owned()]));
    let mut last = first;
    for hook in [refuses, breaks] {
        hook.store(true, Relaxed);
        let (next, events) = acquire().await;
        assert_eq!(events, ["connected"], "the hooks behind it don't run");
        assert_ne!(next, last, "it is closed");
        last = next;
    }
}

/// SQLx keeps one of a kind: theirs, and nothing is told any more.
#[tokio::test]
async fn hooks_that_are_set_on_the_options_are_kept() {
    let (house, log) = (House::build().await, Log::default());
    let (move_in, used) = (house.move_in(), log.clone());
    let options = pool_options().max_connections(2).after_connect(move |conn, _metadata| {
        let move_in = AssertSqlSafe(move_in.clone());
        Box::pin(async move { conn.execute(move_in).await.map(drop) })
    });
    let options = options.before_acquire(move |_conn, _metadata| {
        used.note("used again");
        Box::pin(std::future::ready(Ok(true)))
    });
    let pool = options.connect_lazy(house.url()).unwrap();
    let db = Database::builder(pool).guard(log.guard()).build().unwrap();
    for events in [&[][..], &["used again"]] {
        let (read, first, second) = report(&db, &log).await;
        assert_eq!(read, "tenant");
        assert_eq!([first, second], [events, events]);
    }
}

/// The pool is full with the lost one; and what is put in its place is the pool's from then on.
#[tokio::test]
async fn a_connection_in_the_place_of_a_lost_one_is_set_up_too() {
    let (house, log) = (House::build().await, Log::default());
    let move_in = house.move_in();
    let elsewhere = PgPoolOptions::new().after_connect(move |conn, _metadata| {
        let move_in = AssertSqlSafe(move_in.clone());
        Box::pin(async move { conn.execute(move_in).await.map(drop) })
    });
    for options in [elsewhere, pool_options_with(moving_in(&house, &log))] {
        let options: PoolOptions<_> = options.max_connections(1);
        let pool = options.connect_lazy(house.url()).unwrap();
        let db = Database::builder(pool.clone()).build().unwrap();
        let mut held = pool.acquire().await.unwrap();
        let reads = Log::default();
        let read = db.transaction_on(&mut held, "report", async |mut tx| {
            reads.note(query_scalar::<_, String>(WHOSE).fetch_one(&mut tx).await.unwrap());
            if reads.len() == 1 {
                query(END).execute(&mut tx).await.unwrap_err();
            }
            Ok::<_, Error>(())
        });
        read.await.unwrap();
        assert_eq!(reads.take(), ["tenant", "tenant"]);
        assert_eq!(whose(&mut held).await.unwrap(), "tenant");
        drop(held);
        assert_eq!(whose(&mut pool.acquire().await.unwrap()).await.unwrap(), "tenant");
    }
}
