//! Diesel's blocking connections, over r2d2 and over deadpool-diesel: the same promises, with less to see.

use crate::support::{
    AppError, Attempts, Shop, accounts,
    relay::{Fault, Relay},
    until,
};
use diesel::{
    connection::{Instrumentation, InstrumentationEvent, SimpleConnection},
    pg::PgRowByRowLoadingMode,
    prelude::*,
    r2d2::{ConnectionManager, CustomizeConnection, Pool},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use txsafe_diesel::{
    IDEMPOTENCY_KEYS_SQL, Keyed, SqlState, TxOptions,
    blocking::{Database, Tx, chain_instrumentation},
};
use txsafe_testkit::Postgres;

diesel::table! {
    /// There is no such table: a query of it fails in being prepared.
    nowhere (id) {
        id -> Integer,
    }
}

type DeadpoolPool = deadpool_diesel::postgres::Pool;

fn r2d2(shop: &Shop, connections: u32) -> Pool<ConnectionManager<PgConnection>> {
    let manager = ConnectionManager::<PgConnection>::new(&shop.url);
    Pool::builder().max_size(connections).min_idle(Some(1)).build(manager).unwrap()
}

fn database(shop: &Shop, connections: u32) -> Database {
    Database::builder(r2d2(shop, connections)).service("blocking").build().unwrap()
}

fn deadpool(shop: &Shop) -> DeadpoolPool {
    let manager =
        deadpool_diesel::postgres::Manager::new(&shop.url, deadpool_diesel::Runtime::Tokio1);
    DeadpoolPool::builder(manager).max_size(2).build().unwrap()
}

/// A helper as services have them, on the driver's own connection type.
fn credit(conn: &mut PgConnection, id: i32, amount: i64) -> QueryResult<usize> {
    diesel::update(accounts::table.find(id))
        .set(accounts::balance.eq(accounts::balance + amount))
        .execute(conn)
}

fn raise(conn: &mut PgConnection, code: &str, message: &str) -> QueryResult<()> {
    let raise = format!("DO $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{code}'; END $$");
    conn.batch_execute(&raise)
}

fn pid(conn: &mut PgConnection) -> QueryResult<i32> {
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("pg_backend_pid()"))
        .get_result(conn)
}

#[tokio::test]
async fn commits_rolls_back_and_retries() {
    let shop = Shop::open("blocking").await;
    let db = database(&shop, 2);
    let left = db.transaction("commit", |mut tx| {
        credit(&mut tx, 1, 1)?;
        Ok::<_, AppError>(accounts::table.find(1).select(accounts::balance).first(&mut *tx)?)
    });
    assert_eq!((left.unwrap(), shop.balance_of(1).await), (101_i64, 101));

    let own = db.transaction("own", |mut tx| {
        credit(&mut tx, 1, 1)?;
        Err::<(), _>(AppError::Own("changed my mind"))
    });
    assert!(matches!(own.unwrap_err(), AppError::Own("changed my mind")));
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (101, 0));

    // By Diesel's kind, and by the server's words; the closure's error has lost everything.
    for (code, message) in [("40001", "raised"), ("40P01", "deadlock detected")] {
        let attempts = Attempts::default();
        let retried = db.transaction("retried", |mut tx| {
            credit(&mut tx, 2, 1)?;
            if attempts.is_first() {
                raise(&mut tx, code, message)?;
            }
            Ok::<_, AppError>(())
        });
        retried.unwrap();
        assert_eq!(attempts.count(), 2, "{code}");
    }
    assert_eq!(shop.balance_of(2).await, 102);

    let attempts = Attempts::default();
    let once = db.transaction_once("once", |mut tx| {
        attempts.is_first();
        Ok::<_, AppError>(raise(&mut tx, "40001", "raised")?)
    });
    assert!(once.is_err());
    assert_eq!(attempts.count(), 1);
}

#[tokio::test]
async fn a_lock_that_is_not_granted_is_tried_again() {
    let shop = Shop::open("blocking_lock").await;
    let db = database(&shop, 1);
    shop.watcher
        .batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2")
        .await
        .unwrap();
    let attempts = Attempts::default();
    let options = TxOptions::new().lock_timeout(Duration::from_millis(20));
    let retried = db.with(options).transaction("lock timeout", |mut tx| {
        if attempts.is_first() {
            credit(&mut tx, 2, 1)?;
        }
        Ok::<_, AppError>(())
    });
    retried.unwrap();
    assert_eq!(attempts.count(), 2);

    // Row by row, Diesel tells the end of rows that failed twice, and the second time as a success.
    let attempts = Attempts::default();
    let retried = db.transaction("rows", |mut tx| {
        if attempts.is_first() {
            let rows = accounts::table.order(accounts::id).for_update();
            let rows = rows.load_iter::<(i32, i64), PgRowByRowLoadingMode>(&mut *tx)?;
            let _ignored = rows.take_while(Result::is_ok).count();
        }
        Ok::<_, AppError>(())
    });
    let error = retried.err();
    assert_eq!((attempts.count(), error.is_none()), (2, true), "{error:?}");
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_swallowed_error_never_becomes_ok() {
    let shop = Shop::open("blocking_swallow").await;
    let db = database(&shop, 1);
    let in_executing = db.transaction("executing", |mut tx| {
        credit(&mut tx, 1, 1)?;
        let _ignored = tx.batch_execute("SELECT 1/0");
        Ok::<_, AppError>(())
    });
    assert!(in_executing.unwrap_err().ours().is_rolled_back_at_commit());
    let in_preparing = db.transaction("preparing", |mut tx| {
        credit(&mut tx, 1, 1)?;
        let _ignored = nowhere::table.select(nowhere::id).first::<i32>(&mut *tx);
        Ok::<_, AppError>(())
    });
    assert!(in_preparing.unwrap_err().ours().is_rolled_back_at_commit());
    // Nobody sees it: only COMMIT asks.
    let unseen = db.transaction("unseen", |mut tx| {
        credit(&mut tx, 1, 1)?;
        tx.set_instrumentation(|_: InstrumentationEvent<'_>| ());
        let _ignored = nowhere::table.select(nowhere::id).first::<i32>(&mut *tx);
        Ok::<_, AppError>(())
    });
    assert!(unseen.unwrap_err().ours().is_rolled_back_at_commit());
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (100, 0));

    // An instrumentation that nobody chained stays with its connection.
    let db = database(&shop, 1);
    let twice = db.transaction("duplicate", |mut tx| {
        let new = (accounts::id.eq(1), accounts::balance.eq(1));
        diesel::insert_into(accounts::table).values(new).execute(&mut *tx)?;
        Ok::<_, AppError>(())
    });
    let error = twice.unwrap_err();
    assert!(matches!(error, AppError::Opaque), "the caller's own: {error:?}");
}

#[tokio::test]
async fn a_closure_that_ends_the_transaction_is_told() {
    let shop = Shop::open("blocking_ended").await;
    let db = database(&shop, 1);
    for end in ["COMMIT", "ROLLBACK"] {
        let ended = db.transaction("ended", |mut tx| {
            credit(&mut tx, 1, 1)?;
            tx.batch_execute(end)?;
            Ok::<_, AppError>(())
        });
        let error = ended.unwrap_err().ours();
        assert!(matches!(error.kind(), txsafe_diesel::ErrorKind::EndedByClosure), "{error}");
    }
    let deferred = db.transaction("deferred", |mut tx| {
        let sql = "ALTER TABLE accounts ADD UNIQUE (balance) DEFERRABLE INITIALLY DEFERRED";
        tx.batch_execute("UPDATE accounts SET balance = id")?;
        tx.batch_execute(sql)?;
        tx.batch_execute("UPDATE accounts SET balance = 5")?;
        Ok::<_, AppError>(())
    });
    let error = deferred.unwrap_err().ours();
    assert_eq!(error.sqlstate(), Some(SqlState::UNIQUE_VIOLATION), "{error}");
    assert_eq!(shop.busy().await, 0);
}

#[tokio::test]
async fn savepoints_and_hooks() {
    let shop = Shop::open("blocking_savepoint").await;
    let db = database(&shop, 1);
    let notes = Arc::<Mutex<Vec<String>>>::default();
    let note = |tx: &mut Tx<'_>, what: &'static str| {
        let (commit, rollback) = (Arc::clone(&notes), Arc::clone(&notes));
        tx.after_commit(move || commit.lock().unwrap().push(format!("{what} committed")));
        tx.after_rollback(move || rollback.lock().unwrap().push(format!("{what} rolled back")));
    };
    let attempts = Attempts::default();
    let committed = db.transaction("savepoints", |mut tx| {
        note(&mut tx, "outer");
        credit(&mut tx, 1, 1)?;
        let undone = tx.savepoint(|mut tx| {
            note(&mut tx, "undone");
            credit(&mut tx, 2, 1)?;
            Ok::<_, AppError>(raise(&mut tx, "P0001", "raised")?)
        });
        assert!(undone.is_err());
        let swallowed = tx.savepoint(|mut tx| {
            let _ignored = raise(&mut tx, "P0001", "raised");
            Ok::<_, AppError>(())
        });
        assert!(swallowed.unwrap_err().ours().is_rolled_back_at_commit());
        tx.savepoint(|mut tx| {
            note(&mut tx, "kept");
            credit(&mut tx, 3, 1)?;
            Ok::<_, AppError>(())
        })?;
        if attempts.is_first() {
            raise(&mut tx, "40001", "raised")?;
        }
        Ok::<_, AppError>(())
    });
    committed.unwrap();
    let expected = [
        "undone rolled back",
        "outer rolled back",
        "kept rolled back",
        "undone rolled back",
        "outer committed",
        "kept committed",
    ];
    assert_eq!(*notes.lock().unwrap(), expected);
    let balances = (shop.balance_of(1).await, shop.balance_of(2).await, shop.balance_of(3).await);
    assert_eq!(balances, (101, 100, 101));
}

#[tokio::test]
async fn a_panic_goes_on_and_leaves_nothing() {
    let shop = Shop::open("blocking_panic").await;
    let db = database(&shop, 1);
    let panicking = || {
        db.transaction("panics", |mut tx| {
            credit(&mut tx, 1, 1)?;
            if !shop.url.is_empty() {
                panic!("on purpose");
            }
            Ok::<_, AppError>(())
        })
    };
    let panic = catch_unwind(AssertUnwindSafe(panicking)).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    until("the end of the locks", async || shop.busy().await == 0).await;
    db.transaction("next", |mut tx| Ok::<_, AppError>(credit(&mut tx, 1, 2)?)).unwrap();
    assert_eq!(shop.balance_of(1).await, 102);

    // One that the caller holds is rolled back at once, and nobody may go on with it.
    let mut conn = PgConnection::establish(&shop.url).unwrap();
    let panicking = || {
        db.transaction_on(&mut conn, "panics", |mut tx| {
            credit(&mut tx, 1, 1)?;
            if !shop.url.is_empty() {
                panic!("on purpose");
            }
            Ok::<_, AppError>(())
        })
    };
    catch_unwind(AssertUnwindSafe(panicking)).unwrap_err();
    assert_eq!((shop.busy().await, shop.balance_of(1).await), (0, 102));
    assert!(conn.transaction(|_| QueryResult::Ok(())).is_err());

    let db = txsafe_diesel::blocking::Database::builder(deadpool(&shop)).build().unwrap();
    let panicking = tokio::spawn(async move {
        db.interact("panics", |mut tx| {
            credit(&mut tx, 1, 1)?;
            if tx.instrumentation().is::<Count>() {
                return Ok::<_, AppError>(());
            }
            panic!("on purpose");
        })
        .await
    });
    assert!(panicking.await.unwrap_err().is_panic());
    until("the end of the locks", async || shop.busy().await == 0).await;
    assert_eq!(shop.balance_of(1).await, 102);
}

#[tokio::test]
async fn nested_on_the_same_database_is_refused_with_both_places() {
    let shop = Shop::open("blocking_nested").await;
    let db = database(&shop, 2);
    let outer = db.transaction("outer", |mut tx| {
        credit(&mut tx, 1, 1)?;
        db.transaction("inner", |_tx| Ok::<_, AppError>(()))
    });
    let error = outer.unwrap_err().ours();
    assert!(error.is_nested_transaction());
    let text = error.to_string();
    assert_eq!(text.matches("blocking.rs:").count(), 2, "{text}");

    // A transaction of the caller's own is left as it is.
    let mut conn = db.pool().get().unwrap();
    let own = conn.transaction(|conn| {
        credit(conn, 1, 1).unwrap();
        let inner = db.transaction_on(conn, "inner", |_tx| Ok::<_, AppError>(()));
        assert!(inner.unwrap_err().ours().to_string().contains("in a transaction already"));
        QueryResult::Ok(())
    });
    own.unwrap();
    assert_eq!(shop.balance_of(1).await, 101);
}

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

#[tokio::test]
async fn an_idempotency_key_runs_once() {
    let shop = Shop::open("blocking_key").await;
    shop.watcher.batch_execute(IDEMPOTENCY_KEYS_SQL).await.unwrap();
    let db = database(&shop, 1);
    for again in [Keyed::Ran(()), Keyed::AlreadyCommitted] {
        let keyed = db.idempotency_key("o'clock").transaction("keyed", |mut tx| {
            credit(&mut tx, 1, 1)?;
            Ok::<_, AppError>(())
        });
        assert_eq!(keyed.unwrap(), again);
    }
    let verified = db.with(TxOptions::new().verify_commit(true));
    verified.transaction("verified", |mut tx| Ok::<_, AppError>(credit(&mut tx, 1, 1)?)).unwrap();
    assert_eq!(shop.balance_of(1).await, 102);
}

#[tokio::test]
async fn a_lost_commit_is_unknown_or_verified() {
    let shop = Shop::open("blocking_lost").await;
    for (fault, verify, attempts, balance) in [
        (Fault::CutAfter, false, None, 101),
        (Fault::CutAfter, true, Some(1), 102),
        (Fault::CutBefore, true, Some(2), 103),
    ] {
        let relay = Relay::start(shop.port(), "SAVEPOINT txsafe; COMMIT", fault).await;
        // The relay knows nothing of what libpq says before its startup message.
        let url = format!("{}&sslmode=disable&gssencmode=disable", shop.at_port(relay.port));
        let manager = ConnectionManager::<PgConnection>::new(url);
        // The relay needs this thread.
        let lost = tokio::task::spawn_blocking(move || {
            let pool = Pool::builder().max_size(1).build(manager).unwrap();
            let db = Database::builder(pool).verify_commit(verify).build().unwrap();
            let attempts = Attempts::default();
            let result = db.transaction("lost", |mut tx| {
                attempts.is_first();
                Ok::<_, AppError>(credit(&mut tx, 1, 1)?)
            });
            result.map(|_updated| attempts.count())
        });
        match (lost.await.unwrap(), attempts) {
            (Ok(count), Some(attempts)) => assert_eq!(count, attempts, "{fault:?}"),
            (Err(error), None) => assert!(error.ours().is_commit_unknown()),
            (result, _) => panic!("{fault:?}: {result:?}"),
        }
        assert!(relay.is_done());
        assert_eq!(shop.balance_of(1).await, balance, "{fault:?}");
    }
}

struct Count(Arc<AtomicU32>);

impl Instrumentation for Count {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if matches!(
            event,
            InstrumentationEvent::FinishQuery { .. }
                | InstrumentationEvent::BeginTransaction { .. }
                | InstrumentationEvent::CommitTransaction { .. }
                | InstrumentationEvent::RollbackTransaction { .. }
        ) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Debug)]
struct Counting(Arc<AtomicU32>, bool);

impl CustomizeConnection<PgConnection, diesel::r2d2::Error> for Counting {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), diesel::r2d2::Error> {
        let count = Count(Arc::clone(&self.0));
        if self.1 {
            chain_instrumentation(conn, count)
        } else {
            conn.set_instrumentation(count)
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_callers_instrumentation_hears_every_event() {
    let shop = Shop::open("blocking_chained").await;
    let with = |customizer| {
        let manager = ConnectionManager::<PgConnection>::new(&shop.url);
        let builder = Pool::builder().max_size(1).test_on_check_out(false);
        let pool = builder.connection_customizer(Box::new(customizer)).build(manager).unwrap();
        Database::builder(pool).build().unwrap()
    };
    let count = Arc::<AtomicU32>::default();
    let db = with(Counting(Arc::clone(&count), true));
    let attempts = Attempts::default();
    let committed = db.transaction("chained", |mut tx| {
        credit(&mut tx, 1, 1)?;
        if attempts.is_first() {
            raise(&mut tx, "40001", "raised")?;
        }
        Ok::<_, AppError>(())
    });
    committed.unwrap();
    assert_eq!(attempts.count(), 2, "still observed");
    // The language and the database once; BEGIN, UPDATE, DO, ROLLBACK; BEGIN, UPDATE, COMMIT; and a begin or an end of
    // each transaction.
    assert_eq!(count.load(Ordering::Relaxed), 2 + 7 + 4);

    let db = with(Counting(Arc::clone(&count), false));
    let lost = db.transaction("lost", |_tx| Ok::<_, AppError>(()));
    let text = lost.unwrap_err().ours().to_string();
    assert!(text.contains("chain_instrumentation"), "{text}");
    let still = db.pool().get().unwrap().instrumentation().is::<Count>();
    assert!(still, "the caller's is left in its place");
}

#[tokio::test]
async fn servers_that_speak_other_languages_are_understood_or_refused() {
    for locale in ["de_DE.UTF-8", "ja_JP.UTF-8"] {
        let server = Postgres::builder().locale(locale).start().await.unwrap();
        let shop = Shop::on(server, "languages").await;
        let db = database(&shop, 2);
        shop.watcher
            .batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2")
            .await
            .unwrap();
        let attempts = Attempts::default();
        let retried = db.transaction("lock timeout", |mut tx| {
            if attempts.is_first() {
                credit(&mut tx, 2, 1)?;
            }
            Ok::<_, AppError>(())
        });
        retried.unwrap();
        assert_eq!(attempts.count(), 2, "{locale}");
        let unseen = db.transaction("unseen", |mut tx| {
            tx.set_instrumentation(|_: InstrumentationEvent<'_>| ());
            let _ignored = nowhere::table.select(nowhere::id).first::<i32>(&mut *tx);
            Ok::<_, AppError>(())
        });
        assert!(unseen.unwrap_err().ours().is_rolled_back_at_commit(), "{locale}");
    }
    let server = Postgres::builder().locale("fi_FI.UTF-8").start().await.unwrap();
    let shop = Shop::on(server, "unknown").await;
    let db = database(&shop, 1);
    let refused = db.transaction("refused", |_tx| Ok::<_, AppError>(()));
    let text = refused.unwrap_err().ours().to_string();
    assert!(text.contains("fi_FI.UTF-8") && text.contains("lc_messages = 'C'"), "{text}");
    // The cure works, on connections made after it.
    shop.watcher.batch_execute("ALTER ROLE CURRENT_USER SET lc_messages = 'C'").await.unwrap();
    database(&shop, 1).transaction("cured", |_tx| Ok::<_, AppError>(())).unwrap();
}
