//! What is committed, what isn't, and what the caller gets to hear.

use super::{credit, database, deadpool, nowhere, observation::Count, raise};
use crate::support::{
    AppError, Attempts, Shop, accounts,
    relay::{Fault, Relay},
    until,
};
use diesel::{
    connection::{InstrumentationEvent, SimpleConnection},
    prelude::*,
    r2d2::{ConnectionManager, Pool},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};
use txsafe_diesel::{
    IDEMPOTENCY_KEYS_SQL, Keyed, SqlState, TxOptions,
    blocking::{Database, Tx},
};

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
    assert_eq!(text.matches("blocking/outcomes.rs:").count(), 2, "{text}");

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
        let relay = Relay::start(shop.port(), "COMMIT", fault).await;
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
