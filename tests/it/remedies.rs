//! Every row of the remedy table, provoked for real or raised by the server with that SQLSTATE.

use crate::support::{AppError, Attempts, Shop, accounts, credit, until};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Barrier;
use txsafe_diesel::{Cause, Database, ErrorKind, GiveUp, RetryPolicy, SqlState, TxOptions};
use txsafe_testkit::Postgres;

/// Lets the server fail with this code.
pub(crate) async fn raise(conn: &mut AsyncPgConnection, code: &str) -> QueryResult<()> {
    let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'raised' USING ERRCODE = '{code}'; END $$");
    conn.batch_execute(&raise).await
}

/// The server process behind a connection.
pub(crate) async fn pid(conn: &mut AsyncPgConnection) -> i32 {
    diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("pg_backend_pid()"))
        .get_result(conn)
        .await
        .unwrap()
}

/// Ends the server process behind a connection, as an administrator would.
pub(crate) async fn terminate(shop: &Shop, conn: &mut AsyncPgConnection) {
    let pid = pid(conn).await;
    shop.watcher.query_one("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    gone(shop, pid).await;
}

/// Waits for the end of a server process; each question is a round trip, and statement timeouts bound the loop.
async fn gone(shop: &Shop, pid: i32) {
    let sql = "SELECT FROM pg_stat_activity WHERE pid = $1";
    while shop.watcher.query_opt(sql, &[&pid]).await.unwrap().is_some() {}
}

#[tokio::test]
async fn transient_codes_run_the_closure_again_whatever_the_caller_makes_of_them() {
    let shop = Shop::open("transient").await;
    for code in ["40001", "40P01"] {
        let attempts = Attempts::default();
        let committed = shop.db.transaction("transient", async |mut tx| {
            credit(&mut tx, 1, 1).await?;
            if attempts.is_first() {
                raise(&mut tx, code).await?;
            }
            Ok::<_, AppError>(())
        });
        committed.await.unwrap();
        assert_eq!(attempts.count(), 2, "{code}");
    }
    assert_eq!(shop.balance_of(1).await, 102, "each counted once");
}

#[tokio::test]
async fn other_codes_are_the_callers() {
    let shop = Shop::open("aborting").await;
    for code in [
        "57014", "25P04", "53100", "53200", "23505", "23503", "0A000", "P0001", "XX000",
        // As if another server had said it, through this one.
        "55P03", "08000", "08001", "08003", "08006", "25006", "57P03", "53300",
    ] {
        let attempts = Attempts::default();
        let failed = shop.db.transaction("aborting", async |mut tx| {
            attempts.is_first();
            credit(&mut tx, 1, 1).await?;
            raise(&mut tx, code).await?;
            Ok::<_, AppError>(())
        });
        assert!(matches!(failed.await, Err(AppError::Opaque)), "{code}");
        assert_eq!(attempts.count(), 1, "{code}");
    }
    assert_eq!(shop.balance_of(1).await, 100);
}

#[tokio::test]
async fn a_failure_raised_by_commit_is_classified_like_any_other() {
    let shop = Shop::open("at_commit").await;
    let trigger = "
        CREATE TABLE late (code text);
        CREATE FUNCTION fail_late() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'late' USING ERRCODE = NEW.code; END $$;
        CREATE CONSTRAINT TRIGGER fail_late AFTER INSERT ON late
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail_late();
    ";
    shop.watcher.batch_execute(trigger).await.unwrap();
    for (code, is_transient) in [("40001", true), ("40P01", true), ("23503", false)] {
        let attempts = Attempts::default();
        let result = shop.db.transaction("late", async |mut tx| {
            if attempts.is_first() {
                tx.batch_execute(&format!("INSERT INTO late VALUES ('{code}')")).await?;
            }
            Ok::<_, AppError>(())
        });
        match result.await {
            Ok(()) => assert!(is_transient, "{code}"),
            Err(error) => {
                let error = error.ours();
                assert!(!is_transient, "{error}");
                assert_eq!(*error.kind(), ErrorKind::Failed);
                assert_eq!(error.sqlstate(), SqlState::new(code));
            }
        }
        assert_eq!(attempts.count(), 1 + u32::from(is_transient), "{code}");
    }
    assert_eq!(shop.busy().await, 0);
}

#[tokio::test]
async fn a_serialization_failure_for_real() {
    let shop = Shop::open("serialization").await;
    let attempts = Attempts::default();
    let options = TxOptions::new().isolation(txsafe_diesel::Isolation::RepeatableRead);
    let committed = shop.db.with(options).transaction("repeatable", async |mut tx| {
        accounts::table.count().get_result::<i64>(&mut tx).await?;
        if attempts.is_first() {
            let ahead = "UPDATE accounts SET balance = balance + 1 WHERE id = 1";
            shop.watcher.batch_execute(ahead).await.unwrap();
        }
        credit(&mut tx, 1, 1).await?;
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!((attempts.count(), shop.balance_of(1).await), (2, 102));
}

/// Two transactions that lock two rows in opposite order, and meet in the middle on their first attempts.
async fn deadlock_on(shop: &Shop, db: &Database) -> [u32; 2] {
    let meeting = Arc::new(Barrier::new(2));
    let both = [Attempts::default(), Attempts::default()];
    let cross = async |first: i32, second: i32, attempts: &Attempts| {
        let options = TxOptions::new().adaptive_lock_timeout(false);
        db.with(options)
            .transaction("cross", async |mut tx| {
                let is_first = attempts.is_first();
                credit(&mut tx, first, 1).await?;
                if is_first {
                    meeting.wait().await;
                }
                credit(&mut tx, second, 1).await?;
                Ok::<_, AppError>(())
            })
            .await
    };
    let (a, b) = tokio::join!(cross(1, 2, &both[0]), cross(2, 1, &both[1]));
    a.unwrap();
    b.unwrap();
    assert_eq!((shop.balance_of(1).await, shop.balance_of(2).await), (102, 102));
    both.map(|attempts| attempts.count())
}

#[tokio::test]
async fn a_deadlock_for_real() {
    let shop = Shop::open("deadlock").await;
    assert_eq!(deadlock_on(&shop, &shop.db).await.iter().sum::<u32>(), 3, "one victim");
}

#[tokio::test]
async fn a_server_that_speaks_german() {
    let server = Postgres::builder().locale("de_DE.UTF-8").start().await.unwrap();
    let shop = Shop::on(server, "german").await;
    let said = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&said);
    let db = Database::builder(shop.db.pool().clone())
        .on_report(move |report| {
            let messages = report.failures.iter().map(|a| a.failure.message().to_owned());
            hear.lock().unwrap().extend(messages);
        })
        .build()
        .unwrap();
    assert_eq!(deadlock_on(&shop, &db).await.iter().sum::<u32>(), 3);
    lock_timeout_on(&shop, &db).await;
    let said = said.lock().unwrap().join("; ");
    assert!(said.contains("Verklemmung"), "{said}");
    assert!(said.contains("Zeitüberschreitung einer Sperre"), "{said}");
}

/// A transaction that meets a lock, which is let go before its second attempt.
async fn lock_timeout_on(shop: &Shop, db: &Database) {
    let mut holder = shop.db.pool().get().await.unwrap();
    holder.batch_execute("BEGIN; UPDATE accounts SET balance = 7 WHERE id = 3").await.unwrap();
    let holder = Arc::new(Mutex::new(Some(holder)));
    let let_go = Arc::clone(&holder);
    // The pause is the moment to let go: the attempt before it has failed.
    let pauses = RetryPolicy::new().max_attempts(200).pauses(move || {
        let let_go = Arc::clone(&let_go);
        std::iter::repeat_with(move || {
            if let Some(holder) = let_go.lock().unwrap().take() {
                drop(deadpool::managed::Object::take(holder));
            }
            Duration::from_millis(1)
        })
    });
    let attempts = Attempts::default();
    let options = TxOptions::new().lock_timeout(Duration::from_millis(10)).retry(pauses);
    let waited = db.with(options).transaction("meets a lock", async |mut tx| {
        attempts.is_first();
        credit(&mut tx, 3, 1).await?;
        Ok::<_, AppError>(())
    });
    waited.await.unwrap();
    assert!(attempts.count() >= 2);
    assert_eq!(shop.balance_of(3).await, 101);
}

#[tokio::test]
async fn a_lock_timeout_for_real() {
    let shop = Shop::open("lock_timeout").await;
    lock_timeout_on(&shop, &shop.db).await;
}

#[tokio::test]
async fn a_connection_killed_between_statements() {
    let shop = Shop::open("killed").await;
    let attempts = Attempts::default();
    let committed = shop.db.transaction("killed", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        if attempts.is_first() {
            terminate(&shop, &mut tx).await;
        }
        credit(&mut tx, 2, 1).await?;
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!(attempts.count(), 2);
    assert_eq!((shop.balance_of(1).await, shop.balance_of(2).await), (101, 101));
}

#[tokio::test]
async fn a_connection_that_died_in_the_pool() {
    let shop = Shop::with("stale", 1, |builder| builder).await;
    let mut conn = shop.db.pool().get().await.unwrap();
    terminate(&shop, &mut conn).await;
    drop(conn);
    let committed = shop.db.transaction("after", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!(shop.balance_of(1).await, 101);
}

#[tokio::test]
async fn a_session_that_idled_too_long_is_not_tried_again() {
    let shop = Shop::open("idle").await;
    let told = Arc::new(Mutex::new(None));
    let hear = Arc::clone(&told);
    let db = Database::builder(shop.db.pool().clone())
        .on_report(move |report| *hear.lock().unwrap() = Some(report.clone()))
        .build()
        .unwrap();
    let attempts = Attempts::default();
    let options = TxOptions::new().idle_in_transaction_session_timeout(Duration::from_millis(100));
    let failed = db.with(options).transaction("idle", async |mut tx| {
        attempts.is_first();
        let pid = pid(&mut tx).await;
        gone(&shop, pid).await;
        credit(&mut tx, 1, 1).await?;
        Ok::<_, AppError>(())
    });
    assert!(matches!(failed.await, Err(AppError::Opaque)));
    assert_eq!(attempts.count(), 1);
    let report = told.lock().unwrap().take().expect("a report");
    assert_eq!(report.failures[0].cause, Cause::TransactionTimeout);
    assert!(!report.trail.is_empty());
}

#[tokio::test]
async fn a_server_without_free_connections() {
    let shop = Shop::open("full").await;
    let name = format!("txsafe_full_{}", std::process::id());
    let role = format!(
        "CREATE ROLE {name} LOGIN CONNECTION LIMIT 1; GRANT USAGE ON SCHEMA {schema} TO {name};
         GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {name}",
        schema = shop
            .watcher
            .query_one("SELECT current_schema()::text", &[])
            .await
            .unwrap()
            .get::<_, String>(0),
    );
    shop.watcher.batch_execute(&role).await.unwrap();
    let mut config: tokio_postgres::Config = shop.url.parse().unwrap();
    config.user(&name);
    let (only, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let only = Arc::new(Mutex::new(Some(only)));
    let leave = Arc::clone(&only);
    let url = shop.url.replacen("postgres@", &format!("{name}@"), 1);
    let pool =
        diesel_async::pooled_connection::deadpool::Pool::builder(txsafe_diesel::manager(url));
    let pauses = RetryPolicy::new().max_attempts(10_000).pauses(move || {
        let leave = Arc::clone(&leave);
        std::iter::repeat_with(move || {
            leave.lock().unwrap().take();
            Duration::from_millis(1)
        })
    });
    let causes = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&causes);
    let db = Database::builder(pool.build().unwrap())
        .retry(pauses)
        .budget(txsafe_diesel::Budget::new(1_000_000))
        .on_report(move |report| {
            hear.lock().unwrap().extend(report.failures.iter().map(|attempt| attempt.cause));
        })
        .build()
        .unwrap();
    let committed = db.transaction("full", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!(causes.lock().unwrap()[0], Cause::TooManyConnections);
    drop(db);
    until("the role's last session", async || {
        let drop_role = format!("DROP OWNED BY {name}; DROP ROLE {name}");
        shop.watcher.batch_execute(&drop_role).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_plan_that_outlived_its_table() {
    diesel::table! { notes (id) { id -> Integer, body -> Text, } }
    let shop = Shop::with("stale_plan", 1, |builder| builder).await;
    let notes = "CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL); INSERT INTO notes VALUES (1, 'x')";
    shop.watcher.batch_execute(notes).await.unwrap();
    let attempts = Attempts::default();
    let read = async || {
        shop.db
            .transaction("read notes", async |mut tx| {
                attempts.is_first();
                let bodies: Vec<String> = notes::table.select(notes::body).load(&mut tx).await?;
                Ok::<_, AppError>(bodies)
            })
            .await
            .unwrap()
    };
    assert_eq!(read().await, ["x"]);
    let ddl = "ALTER TABLE notes ALTER COLUMN body TYPE varchar(99)";
    shop.watcher.batch_execute(ddl).await.unwrap();
    assert_eq!(read().await, ["x"], "on a new connection, with a new plan");
    assert_eq!(attempts.count(), 3);
}

#[tokio::test]
async fn the_server_is_down_and_comes_back() {
    let server = Arc::new(Postgres::start().await.unwrap());
    let pool = diesel_async::pooled_connection::deadpool::Pool::builder(txsafe_diesel::manager(
        server.url(),
    ));
    let restart = Arc::clone(&server);
    let restarted = Arc::new(Mutex::new(false));
    let once = Arc::clone(&restarted);
    let pauses = RetryPolicy::new().pauses(move || {
        let (restart, once) = (Arc::clone(&restart), Arc::clone(&once));
        std::iter::repeat_with(move || {
            let mut restarted = once.lock().unwrap();
            if !*restarted {
                restart.restart_blocking().unwrap();
                *restarted = true;
            }
            Duration::from_millis(1)
        })
    });
    let db = Database::builder(pool.build().unwrap()).retry(pauses).build().unwrap();
    let attempts = Attempts::default();
    let committed = db.transaction("through a crash", async |mut tx| {
        tx.batch_execute("SELECT 1").await?;
        if attempts.is_first() {
            server.stop_immediately().await.unwrap();
        }
        tx.batch_execute("SELECT 2").await?;
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!(attempts.count(), 2);

    server.stop_immediately().await.unwrap();
    let down = db.with(TxOptions::new().retry(RetryPolicy::new().max_attempts(2))).transaction(
        "down",
        async |mut tx| {
            tx.batch_execute("SELECT 1").await?;
            Ok::<_, AppError>(())
        },
    );
    let error = down.await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::GaveUp(GiveUp::Attempts(2)));
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_server_that_will_never_let_us_in_is_asked_once() {
    let server = Postgres::shared().await.unwrap();
    let (front, _) = server.url().rsplit_once('/').unwrap();
    let url = format!("{front}/no_such_database");
    let pool =
        diesel_async::pooled_connection::deadpool::Pool::builder(txsafe_diesel::manager(url));
    let db = Database::builder(pool.build().unwrap()).build().unwrap();
    let failed = db.transaction("nowhere", async |mut tx| {
        tx.batch_execute("SELECT 1").await?;
        Ok::<_, AppError>(())
    });
    let error = failed.await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::Failed);
    assert_eq!(error.sqlstate(), SqlState::new("3D000"));
    assert_eq!(error.report().unwrap().attempts, 1);
}
