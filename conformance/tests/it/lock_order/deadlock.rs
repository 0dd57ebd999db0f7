//! A deadlock that did happen: the error names our transactions, what was held, and where.

use crate::lock_order::town::{Town, diesel_pool, diesel_sql, sqlx_pool, sqlx_sql};
use diesel::{PgConnection, RunQueryDsl, r2d2, sql_query};
use std::{
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
};
use tokio::{runtime::Handle, task::block_in_place};
use txsafe::{Deadlock, LockGraph, Report, RetryPolicy, TxOptions};
use txsafe_conformance::error::AppError;

/// Two transactions, and what each locks.
const FIGHT: [(&str, [&str; 2]); 2] = [("ship", [ORDER, USERS]), ("move", [USER, ORDERS])];
const USER: &str = "UPDATE users SET name = 'x' WHERE id = 1";
const USERS: &str = "UPDATE users SET name = 'x' WHERE id <= 2";
const ORDER: &str = "UPDATE orders SET organization = 2 WHERE id = 1";
const ORDERS: &str = "UPDATE orders SET organization = 2 WHERE id <= 2";

/// Somebody else holds the second row of either table: whoever survives is still within its second statement when the other
/// one asks who it was.
const STAND_IN_THE_WAY: &str =
    "BEGIN; SELECT FROM users WHERE id = 2 FOR UPDATE; SELECT FROM orders WHERE id = 2 FOR UPDATE";

/// What the one that died knows.
type Told = Arc<Mutex<Vec<Deadlock>>>;

fn tell(told: &Told) -> impl Fn(&Report) + Send + Sync + 'static {
    let told = Arc::clone(told);
    move |report| {
        let known = report.failures.iter().filter_map(|attempt| attempt.failure.deadlock());
        told.lock().unwrap().extend(known.cloned());
        if !report.failures.is_empty() {
            let text = report.to_string();
            assert!(text.contains("    lock order inversion: "), "{text}");
        }
    }
}

#[track_caller]
fn assert_told(told: &Told) {
    let told = told.lock().unwrap();
    let [deadlock] = told.as_slice() else { panic!("one of the two died: {told:?}") };
    let [other] = deadlock.others.as_slice() else { panic!("of two: {deadlock:?}") };
    let (held, name) = match deadlock.held[0].as_str() {
        held if held.starts_with("`users`") => (USER, "ship"),
        _ => (ORDER, "move"),
    };
    let [held_one] = deadlock.held.as_slice() else {
        panic!("what it waited for, too: {deadlock:?}")
    };
    assert!(held_one.contains(held), "{deadlock:?}");
    assert_eq!(other.transaction.as_deref(), Some(name), "{deadlock:?}");
    assert_eq!(other.place.unwrap().file(), file!(), "{deadlock:?}");
    let inversion = deadlock.inversion.as_deref().unwrap();
    assert!(inversion.contains("\"ship\"") && inversion.contains("\"move\""), "{inversion}");
}

/// The cases, for one driver.
macro_rules! cases {
    ($name:ident, $driver:ident, $pool:ident, $sql:ident) => {
        #[tokio::test]
        async fn $name() {
            let town = Town::found("deadlock").await;
            let told = Told::default();
            let db = $driver::Database::builder($pool(town.url())).lock_graph(LockGraph::new());
            let db = db.service(town.name()).adaptive_lock_timeout(false).on_report(tell(&told));
            let db = db.build().unwrap();
            town.other.batch_execute(STAND_IN_THE_WAY).await.unwrap();
            let met = tokio::sync::Barrier::new(2);
            let fight = FIGHT.map(|(name, statements)| {
                let (db, met, town) = (&db, &met, &town);
                async move {
                    let attempts = AtomicU32::new(0);
                    let ended = db.transaction(name, async |mut tx| {
                        let is_first = attempts.fetch_add(1, Relaxed) == 0;
                        if !is_first {
                            town.other.batch_execute("ROLLBACK").await.unwrap();
                        }
                        $sql(&mut tx, statements[0]).await?;
                        if is_first {
                            met.wait().await;
                        }
                        $sql(&mut tx, statements[1]).await?;
                        Ok::<_, AppError>(())
                    });
                    ended.await.unwrap();
                }
            });
            let [one, other] = fight;
            tokio::join!(one, other);
            assert_told(&told);
        }
    };
}

cases!(diesel_async_tells_who_it_died_with, txsafe_diesel, diesel_pool, diesel_sql);
cases!(sqlx_tells_who_it_died_with, txsafe_sqlx, sqlx_pool, sqlx_sql);

#[tokio::test(flavor = "multi_thread")]
async fn blocking_diesel_tells_who_it_died_with() {
    let town = Town::found("deadlock").await;
    let told = Told::default();
    let manager = r2d2::ConnectionManager::<PgConnection>::new(town.url());
    let pool = block_in_place(|| r2d2::Pool::builder().max_size(2).build(manager).unwrap());
    let db = txsafe_diesel::blocking::Database::builder(pool).lock_graph(LockGraph::new());
    let db = db.service(town.name()).adaptive_lock_timeout(false).on_report(tell(&told));
    let db = db.build().unwrap();
    town.other.batch_execute(STAND_IN_THE_WAY).await.unwrap();
    let met = Barrier::new(2);
    let runtime = Handle::current();
    block_in_place(|| {
        thread::scope(|scope| {
            for (name, statements) in FIGHT {
                let (db, met, town, runtime) = (&db, &met, &town, &runtime);
                scope.spawn(move || {
                    let mut attempts = 0;
                    let ended = db.transaction(name, |mut tx| {
                        attempts += 1;
                        if attempts > 1 {
                            runtime.block_on(town.other.batch_execute("ROLLBACK")).unwrap();
                        }
                        sql_query(statements[0]).execute(&mut *tx)?;
                        if attempts == 1 {
                            met.wait();
                        }
                        sql_query(statements[1]).execute(&mut *tx)?;
                        Ok::<_, AppError>(())
                    });
                    ended.unwrap();
                });
            }
        });
    });
    assert_told(&told);
}

#[tokio::test]
async fn who_has_no_name_is_not_guessed() {
    let town = Town::found("nameless").await;
    let told = Told::default();
    let heard = Arc::clone(&told);
    let db = txsafe_sqlx::Database::builder(sqlx_pool(town.url())).lock_graph(LockGraph::off());
    let once = RetryPolicy::new().max_attempts(1);
    let db = db.service(town.name()).retry(once).on_report(move |report| {
        let known = report.failures.iter().filter_map(|attempt| attempt.failure.deadlock());
        heard.lock().unwrap().extend(known.cloned());
    });
    let db = db.build().unwrap();
    let db = db.with(TxOptions::new().adaptive_lock_timeout(false));
    town.other
        .batch_execute(&format!("SET deadlock_timeout = '1min'; BEGIN; {USER}"))
        .await
        .unwrap();
    let ours = db.transaction("nameless", async |mut tx| {
        sqlx_sql(&mut tx, ORDER).await?;
        sqlx_sql(&mut tx, USER).await
    });
    let theirs = async {
        town.until_somebody_waits().await;
        town.other.batch_execute(&format!("{ORDER}; COMMIT")).await.unwrap();
    };
    let (ended, ()) = tokio::join!(ours, theirs);
    ended.unwrap_err();
    let told = told.lock().unwrap();
    let [deadlock] = told.as_slice() else { panic!("{told:?}") };
    assert!(deadlock.held.is_empty() && deadlock.inversion.is_none(), "the graph is off");
    assert_eq!(deadlock.others[0].transaction, None);
    assert!(deadlock.to_string().starts_with("against process "), "{deadlock}");
}
