//! Closures that return the driver's own error, and what it says of what txsafe found.

use axum::{body::to_bytes, response::IntoResponse};
use diesel::{
    PgConnection,
    connection::SimpleConnection,
    r2d2::ConnectionManager,
    result::{DatabaseErrorKind, Error as DieselError},
};
use diesel_async::{SimpleAsyncConnection, pooled_connection::deadpool};
use sqlx::Executor;
use std::{cell::Cell, time::Duration};
use txsafe::{Cause, Failure, Outcome, Phase, TxOptions, guard::Policy};
use txsafe_conformance::{script::raise, shop::Shop};
use txsafe_diesel::blocking;
use txsafe_layers::Answer;

const SEATS: &str = "
    CREATE TABLE seats (id int CONSTRAINT one_seat UNIQUE DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO seats VALUES (1)";
const TAKEN: &str = "INSERT INTO seats VALUES (1)";
const NOT_A_NUMBER: &str = "SELECT 1/0";
/// The closure ends its transaction, so what of it is committed is unknown.
const COMMITS: &str = "INSERT INTO seats VALUES (4); COMMIT";

/// What a driver's error tells a caller that knows nothing of txsafe.
#[derive(Debug, PartialEq)]
enum Told {
    Unique { constraint: String },
    Gone,
    NoConnection,
    Other,
}

fn of_sqlx(error: &sqlx::Error) -> Told {
    match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => {
            assert_eq!(error.code().as_deref(), Some("23505"));
            Told::Unique { constraint: error.constraint().unwrap().to_owned() }
        }
        sqlx::Error::Io(_) => Told::Gone,
        sqlx::Error::PoolTimedOut => Told::NoConnection,
        sqlx::Error::Database(error) => {
            assert_eq!((error.code(), error.constraint()), (None, None), "nothing to react to");
            Told::Other
        }
        error => panic!("{error:?}"),
    }
}

fn of_diesel(error: &DieselError) -> Told {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, about) => {
            assert!(about.message().contains("one_seat"), "{}", about.message());
            Told::Unique { constraint: about.constraint_name().unwrap().to_owned() }
        }
        DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection, _) => Told::Gone,
        DieselError::DatabaseError(DatabaseErrorKind::UnableToSendCommand, about) => {
            assert!(about.details().unwrap().contains("no connection came free"));
            Told::NoConnection
        }
        DieselError::QueryBuilderError(_) => Told::Other,
        error => panic!("{error:?}"),
    }
}

fn is_transient(failure: &Failure) -> bool {
    Cause::of(failure, Phase::Body).is_transient()
}

async fn says(answer: Answer) -> String {
    let body = to_bytes(answer.into_response().into_body(), 1_000).await.unwrap();
    String::from_utf8(body.into()).unwrap()
}

/// A pool of one connection, whose checkout isn't waited for.
fn impatient() -> TxOptions {
    TxOptions::new().checkout_timeout(Duration::from_millis(50)).timeout(Duration::from_secs(1))
}

macro_rules! async_cases {
    ($module:ident, $driver:ident, $error:ty, $told:path, |$tx:ident, $sql:ident| $run:expr, |$url:ident| $pool:expr) => {
        mod $module {
            use super::*;
            use $driver::{Database, DriverError, OwnedTx, Tx, error_behind, failure_of};

            async fn run($tx: &mut Tx<'_>, $sql: &str) -> Result<(), $error> {
                $run.await?;
                Ok(())
            }

            /// What an application has: a function that knows the driver's error alone.
            async fn take(db: &Database, sql: &str) -> Result<(), $error> {
                let taken = db.transaction("take", async |mut tx| {
                    run(&mut tx, sql).await?;
                    Ok::<_, DriverError>(())
                });
                Ok(taken.await?)
            }

            async fn open() -> (Shop, Database) {
                let shop = Shop::open("driver_errors").await.unwrap();
                shop.watcher.batch_execute(SEATS).await.unwrap();
                let $url = shop.url.as_str();
                let db = Database::builder($pool).build().unwrap();
                (shop, db)
            }

            #[tokio::test]
            async fn the_drivers_own_error_says_it() {
                let (_shop, db) = open().await;
                // What COMMIT finds.
                let error = take(&db, TAKEN).await.unwrap_err();
                assert_eq!($told(&error), Told::Unique { constraint: "one_seat".into() });
                assert!(!is_transient(&failure_of(&error)));

                // What only txsafe has a word for; the code that was swallowed is nothing to react to.
                let swallowed = db.transaction("swallow", async |mut tx| {
                    let _ignored = run(&mut tx, NOT_A_NUMBER).await;
                    Ok::<_, DriverError>(())
                });
                let error = <$error>::from(swallowed.await.unwrap_err());
                assert_eq!($told(&error), Told::Other);
                assert!(error_behind(&error).unwrap().is_rolled_back_at_commit());
                assert!(error.to_string().contains("a failed statement was swallowed"), "{error}");

                // No connection: one that is held by hand.
                let held: OwnedTx = db.begin("held").await.unwrap();
                let late =
                    db.with(impatient()).transaction("late", async |_tx| Ok::<_, DriverError>(()));
                let error = <$error>::from(late.await.unwrap_err());
                assert_eq!($told(&error), Told::NoConnection);
                held.rollback().await.unwrap();
            }

            #[tokio::test]
            async fn a_lost_connection_is_one() {
                let (_shop, db) = open().await;
                let lost = db.begin("lost").await;
                let mut tx = lost.unwrap();
                run(&mut tx, "INSERT INTO seats VALUES (2)").await.unwrap();
                let ended = run(&mut tx, "SELECT pg_terminate_backend(pg_backend_pid())").await;
                ended.unwrap_err();
                let error = <$error>::from(DriverError::from(tx.commit().await.unwrap_err()));
                assert_eq!($told(&error), Told::Gone);
                assert!(is_transient(&failure_of(&error)));
            }

            #[tokio::test]
            async fn it_is_tried_again() {
                let (_shop, db) = open().await;
                let runs = std::sync::atomic::AtomicU32::new(0);
                let tried = db.transaction("tried", async |mut tx| {
                    if runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 {
                        run(&mut tx, &raise("40001")).await?;
                    }
                    tx.savepoint(async |mut tx| {
                        run(&mut tx, "INSERT INTO seats VALUES (3)").await?;
                        Ok::<_, DriverError>(())
                    })
                    .await
                });
                tried.await.unwrap();
                assert_eq!(runs.into_inner(), 3);
            }

            #[tokio::test]
            async fn what_is_unknown_is_no_code_to_react_to() {
                let (_shop, db) = open().await;
                let error = take(&db, COMMITS).await.unwrap_err();
                assert_eq!($told(&error), Told::Other);
                let behind = error_behind(&error).unwrap();
                assert_eq!(behind.outcome(), Outcome::Unknown);
                assert!(!is_transient(&failure_of(&error)));
                // A handler that asks for the failure first would answer with something false.
                let said = says(Answer::to(behind)).await;
                assert!(said.starts_with("It is unknown whether the change was made"), "{said}");
                let said = says(Answer::to_failure(&failure_of(&error))).await;
                assert!(said.starts_with("Nothing was changed"), "{said}");
            }

            /// Futures that aren't `Send` are run on the thread of their caller, with all that a transaction has.
            #[tokio::test]
            async fn a_closure_stays_on_its_thread() {
                let (shop, db) = open().await;
                let (runs, places) = (std::rc::Rc::new(Cell::new(0)), ["before", "behind"]);
                let credit = async |runs: std::rc::Rc<Cell<u32>>, tx: &mut Tx<'_>| {
                    runs.set(runs.get() + 1);
                    run(tx, "UPDATE accounts SET balance = balance + 1 WHERE id = 1").await?;
                    if runs.get() < 3 {
                        run(tx, &raise("40001")).await?;
                    }
                    Ok::<_, DriverError>(std::rc::Rc::new(places))
                };
                let db = &db;
                let done = db.transaction_local("local", async |mut tx| {
                    credit(std::rc::Rc::clone(&runs), &mut tx).await
                });
                assert_eq!(*done.await.unwrap(), places);
                assert_eq!((runs.get(), shop.balance_of(1).await), (3, 101));

                // Another one inside is refused, as in any closure.
                let nested = db.transaction_local("outer", async |_tx| {
                    db.transaction("inner", async |_tx| Ok::<_, txsafe::Error>(())).await
                });
                assert!(nested.await.unwrap_err().is_nested_transaction());

                // The deadline ends it in the middle of whatever it waits for.
                let options = TxOptions::new().timeout(Duration::from_millis(50));
                let late = db.with(options).transaction_local("late", async |mut tx| {
                    credit(std::rc::Rc::clone(&runs), &mut tx).await?;
                    std::future::pending::<Result<(), DriverError>>().await
                });
                let error = <$error>::from(late.await.unwrap_err());
                let error = error_behind(&error).unwrap();
                assert_eq!(error.kind(), &txsafe::ErrorKind::DeadlineExceeded);
                assert_eq!((shop.balance_of(1).await, shop.busy().await), (101, 0));

                // And rerun mode runs it twice.
                let $url = shop.url.as_str();
                let db = Database::builder($pool).guard(Policy::test().rerun(true)).build();
                let twice = db.unwrap();
                runs.set(2);
                let done = twice.transaction_local("twice", async |mut tx| {
                    credit(std::rc::Rc::clone(&runs), &mut tx).await
                });
                done.await.unwrap();
                assert_eq!((runs.get(), shop.balance_of(1).await), (4, 102));
            }
        }
    };
}

async_cases!(
    on_diesel_async,
    txsafe_diesel,
    DieselError,
    of_diesel,
    |tx, sql| tx.batch_execute(sql),
    |url| deadpool::Pool::builder(txsafe_diesel::manager(url)).max_size(1).build().unwrap()
);
async_cases!(
    on_sqlx,
    txsafe_sqlx,
    sqlx::Error,
    of_sqlx,
    |tx, sql| tx.execute(sqlx::AssertSqlSafe(sql.to_owned())),
    |url| txsafe_sqlx::pool_options().max_connections(1).connect_lazy(url).unwrap()
);

fn take(db: &blocking::Database, sql: &str) -> diesel::QueryResult<()> {
    Ok(db.transaction("take", |mut tx| {
        tx.batch_execute(sql)?;
        Ok::<_, txsafe_diesel::DriverError>(())
    })?)
}

#[tokio::test]
async fn diesels_own_error_says_it() {
    let shop = Shop::open("driver_errors").await.unwrap();
    shop.watcher.batch_execute(SEATS).await.unwrap();
    let url = shop.url.clone();
    tokio::task::spawn_blocking(move || {
        let manager = ConnectionManager::<PgConnection>::new(url);
        let pool = blocking::pool_builder().max_size(1).build(manager).unwrap();
        let db = blocking::Database::builder(pool).build().unwrap();

        let error = take(&db, TAKEN).unwrap_err();
        assert_eq!(of_diesel(&error), Told::Unique { constraint: "one_seat".into() });
        let swallowed = db.transaction("swallow", |mut tx| {
            let _ignored = tx.batch_execute(NOT_A_NUMBER);
            Ok::<_, txsafe_diesel::DriverError>(())
        });
        let error = DieselError::from(swallowed.unwrap_err());
        assert!(txsafe_diesel::error_behind(&error).unwrap().is_rolled_back_at_commit());
        let error = take(&db, COMMITS).unwrap_err();
        assert_eq!(of_diesel(&error), Told::Other);
        let outcome = txsafe_diesel::error_behind(&error).unwrap().outcome();
        assert_eq!(outcome, Outcome::Unknown);
        assert!(!is_transient(&txsafe_diesel::failure_of(&error)));
        let held = db.begin("held").unwrap();
        let late =
            db.with(impatient()).transaction("late", |_tx| Ok::<_, txsafe_diesel::DriverError>(()));
        assert_eq!(of_diesel(&late.unwrap_err()), Told::NoConnection);
        held.rollback().unwrap();
    })
    .await
    .unwrap();
}
