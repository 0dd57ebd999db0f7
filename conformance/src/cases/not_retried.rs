//! What fails and isn't tried again, because it is the caller's affair.

use super::Case;
use crate::{
    drivers::{Call, Driver},
    error::AppError,
    script::{Script, Step},
    shop::Shop,
};
use std::{sync::Arc, time::Duration};
use txsafe::{Condition, ErrorKind, Outcome, SqlState, TxOptions};

pub(super) const CASES: &[Case] = cases![
    a_statement_that_takes_too_long_is_the_callers_affair,
    a_timeout_of_the_callers_own_is_meant,
    a_statement_that_somebody_cancels_is_the_callers_affair,
    a_lock_that_is_not_to_be_waited_for_is_the_callers_affair,
    an_error_of_another_server_costs_no_connection,
    what_the_caller_opts_out_of_is_not_tried_again,
];

const MS: Duration = Duration::from_millis(1);

async fn a_statement_that_takes_too_long_is_the_callers_affair(driver: Driver) {
    let shop = Shop::open("slow").await.unwrap();
    let script = Script::new([Step::Credit(1, 1), Step::sql("SELECT pg_sleep(10)")]);
    let options = TxOptions::new().lock_timeout(5 * MS).statement_timeout(50 * MS);
    let result = shop.database(driver).run(Call::new("slow").with(options), script.clone()).await;
    assert!(matches!(result.unwrap_err(), AppError::Opaque));
    assert_eq!((script.attempts(), shop.balance_of(1).await, shop.busy().await), (1, 100, 0));
}

async fn a_timeout_of_the_callers_own_is_meant(driver: Driver) {
    let shop = Shop::open("own_timeouts").await.unwrap();
    let db = shop.database(driver);
    for (timeout, options) in [
        ("20ms", TxOptions::new()),
        ("60ms", TxOptions::new().lock_timeout(40 * MS).adaptive_lock_timeout(false)),
    ] {
        let set = Step::sql(format!("SET LOCAL statement_timeout = '{timeout}'"));
        let script = Script::new([set, Step::sql("SELECT pg_sleep(10)")]);
        let error = db.run(Call::new("own").with(options), script.clone()).await.unwrap_err();
        assert!(matches!(error, AppError::Opaque), "{timeout}: {error:?}");
        assert_eq!(script.attempts(), 1, "{timeout}");
    }

    shop.watcher
        .batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2")
        .await
        .unwrap();
    let set = || Step::sql("SET LOCAL lock_timeout = '10ms'");
    let options = || TxOptions::new().adaptive_lock_timeout(false);
    let script = Script::new([set(), Step::Credit(2, 1)]);
    let error = db.run(Call::new("own").with(options()), script.clone()).await.unwrap_err();
    assert!(matches!(error, AppError::Opaque), "{error:?}");
    assert_eq!(script.attempts(), 1);
    let in_a_savepoint = Step::Savepoint(vec![set(), Step::Credit(2, 1)]);
    let script = Script::new([in_a_savepoint, Step::Credit(1, 1)]);
    db.run(Call::new("own").with(options()), script.clone()).await.unwrap();
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (1, 101));
}

async fn a_statement_that_somebody_cancels_is_the_callers_affair(driver: Driver) {
    let shop = Arc::new(Shop::open("canceled").await.unwrap());
    let db = shop.database(driver);
    let script = Script::new([Step::sql("SELECT pg_sleep(10)")]);
    let call = Call::new("canceled").with(TxOptions::new().lock_timeout(5 * MS));
    let canceling = async {
        let cancel = format!(
            "SELECT count(*) FILTER (WHERE pg_cancel_backend(pid)) FROM pg_stat_activity
             WHERE query = 'SELECT pg_sleep(10)' AND state = 'active'
               AND application_name LIKE '{}/%' AND clock_timestamp() - query_start > '20ms'",
            shop.name(),
        );
        while shop.ask(&cancel).await == 0 {}
    };
    let (result, ()) = tokio::join!(db.run(call, script.clone()), canceling);
    let error = result.unwrap_err();
    assert!(matches!(error, AppError::Opaque), "{error:?}");
    assert_eq!((script.attempts(), shop.busy().await), (1, 0));
}

async fn a_lock_that_is_not_to_be_waited_for_is_the_callers_affair(driver: Driver) {
    let shop = Arc::new(Shop::open("nowait").await.unwrap());
    let db = shop.database(driver);
    let nowait = || "SELECT * FROM accounts WHERE id = 2 FOR UPDATE NOWAIT".to_owned();
    shop.watcher
        .batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2")
        .await
        .unwrap();
    for taken in [Step::Swallow(nowait()), Step::Savepoint(vec![Step::Sql(nowait())])] {
        let script = Script::new([taken, Step::Fail("busy")]);
        let error = db.run(Call::new("nowait"), script.clone()).await.unwrap_err();
        assert!(matches!(error, AppError::Own("busy")), "{error:?}");
        assert_eq!(script.attempts(), 1);
    }
    let script = Script::new([Step::Savepoint(vec![Step::Sql(nowait())]), Step::Credit(1, 1)]);
    db.run(Call::new("nowait"), script.clone()).await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (1, 101));

    // Who wants it tried again says so.
    let free = {
        let shop = Arc::clone(&shop);
        Step::awaiting(move || {
            let shop = Arc::clone(&shop);
            async move {
                shop.watcher.batch_execute("ROLLBACK").await.unwrap();
                Ok(())
            }
        })
    };
    let script = Script::first([Step::Sql(nowait())], [free, Step::Sql(nowait())]);
    let options = TxOptions::new().retry_on([SqlState::LOCK_NOT_AVAILABLE]);
    db.run(Call::new("nowait").with(options), script.clone()).await.unwrap();
    assert_eq!(script.attempts(), 2);
}

async fn an_error_of_another_server_costs_no_connection(driver: Driver) {
    let shop = Shop::open("foreign_errors").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    db.run(Call::new("before"), Script::new([])).await.unwrap();
    let before = shop.backends().await;
    for code in ["08000", "08001", "08003", "08006", "08P01", "57P01", "57P03", "53300"] {
        // In words that this session doesn't use of itself.
        let raise = format!("DO $$ BEGIN RAISE 'elsewhere' USING ERRCODE = '{code}'; END $$");
        let script = Script::new([Step::Sql(raise)]);
        let error = db.run(Call::new("foreign"), script.clone()).await.unwrap_err();
        assert!(matches!(error, AppError::Opaque), "{code}: {error:?}");
        assert_eq!((script.attempts(), shop.backends().await == before), (1, true), "{code}");
    }
    let at_commit = "CREATE FUNCTION elsewhere() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                       RAISE 'elsewhere' USING ERRCODE = '08006';
                     END $$;
                     CREATE CONSTRAINT TRIGGER elsewhere AFTER UPDATE ON accounts
                       DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION elsewhere()";
    shop.watcher.batch_execute(at_commit).await.unwrap();
    let script = Script::new([Step::Credit(1, 1)]);
    let error = db.run(Call::new("foreign"), script.clone()).await.unwrap_err().ours();
    assert_eq!((error.kind(), error.outcome()), (&ErrorKind::Failed, Outcome::RolledBack));
    assert_eq!((script.attempts(), shop.backends().await == before), (1, true));
}

async fn what_the_caller_opts_out_of_is_not_tried_again(driver: Driver) {
    let shop = Shop::open("opted_out").await.unwrap();
    let db = shop.database(driver);
    for options in [
        TxOptions::new().abort_on([SqlState::SERIALIZATION_FAILURE]),
        TxOptions::new().abort_if(|failure| failure.condition() == Condition::Serialization),
    ] {
        let script = Script::new([Step::raise("40001")]);
        let error = db.run(Call::new("opted out").with(options), script.clone()).await.unwrap_err();
        assert!(matches!(error, AppError::Opaque), "{error:?}");
        assert_eq!(script.attempts(), 1);
    }
}
