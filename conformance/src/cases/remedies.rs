//! What fails for real, and what is done about it.

use super::Case;
use crate::{
    drivers::{Call, Driver, Library},
    error::AppError,
    script::{Script, Step, raise},
    shop::Shop,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Barrier;
use txsafe::{Cause, ErrorKind, GiveUp, Isolation, Outcome, RetryPolicy, SqlState, TxOptions};
use txsafe_testkit::Postgres;

pub(super) const CASES: &[Case] = cases![
    codes_that_ask_for_it_are_tried_again,
    what_fails_on_the_lent_connection_is_tried_again,
    a_deadlock_is_tried_again,
    a_lock_that_is_not_granted_is_tried_again,
    a_write_skew_is_tried_again,
    a_killed_connection_is_replaced,
    a_server_that_became_read_only_is_left,
    a_role_that_may_only_read_is_found_out_once,
    too_many_connections_are_waited_out,
    a_stale_plan_is_planned_anew,
    a_constraint_that_refuses_commit_is_named,
    an_idle_transaction_is_not_committed,
    an_empty_pool_is_told,
    attempts_end,
    bind_values_are_shown_on_demand_or_refused,
    options_reach_the_server,
];

pub(super) const CLOSURE_CASES: &[Case] = closure_cases![a_nested_transaction_is_refused];

const MS: Duration = Duration::from_millis(1);

async fn codes_that_ask_for_it_are_tried_again(driver: Driver) {
    let shop = Shop::open("codes").await.unwrap();
    let db = shop.database(driver);
    for (code, attempts) in
        [("40001", 2), ("40P01", 2), ("55P03", 1), ("53300", 1), ("23505", 1), ("P0001", 1)]
    {
        let script = Script::first([Step::Credit(1, 1), Step::raise(code)], [Step::Credit(1, 1)]);
        let options = TxOptions::new()
            .retry(RetryPolicy::new().min_pause(MS).max_pause(2 * MS))
            // On a busy machine a code that is raised may come as late as a short lock timeout, and be taken for one.
            .adaptive_lock_timeout(false);
        let result = db.run(Call::new("codes").with(options), script.clone()).await;
        assert_eq!((script.attempts(), result.is_ok()), (attempts, attempts == 2), "{code}");
    }
    let script = Script::first([Step::raise("23505")], [Step::Credit(1, 1)]);
    let options = TxOptions::new().retry_on([SqlState::UNIQUE_VIOLATION]);
    db.run(Call::new("opted in").with(options), script.clone()).await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await, shop.busy().await), (2, 103, 0));
}

async fn what_fails_on_the_lent_connection_is_tried_again(driver: Driver) {
    let shop = Shop::open("lent").await.unwrap();
    let db = shop.database(driver);
    let pauses = || RetryPolicy::new().min_pause(MS).max_pause(2 * MS);
    let call = || Call::new("lent").with(TxOptions::new().retry(pauses()));
    let lent = |code: &str| [Step::Credit(1, 1), Step::Lent(raise(code))];
    let passes = Script::by_attempt([
        lent("40001").to_vec(),
        lent("40P01").to_vec(),
        vec![Step::Credit(1, 1)],
    ]);
    db.run(call(), passes.clone()).await.unwrap();
    assert_eq!((passes.attempts(), shop.balance_of(1).await), (3, 101));
    // Its code decides, where it is seen.
    let is_unseen = driver.library() == Library::Sqlx;
    let always = Script::new(lent("23505"));
    let error = db.run(call(), always.clone()).await.unwrap_err();
    assert!(matches!(error, AppError::Opaque), "{error:?}");
    assert_eq!(always.attempts(), if is_unseen { 3 } else { 1 });
    let report = shop.reports.last();
    assert_eq!(report.trail.ran_unseen(), is_unseen);
    if is_unseen {
        assert_eq!(report.gave_up, Some(GiveUp::Unseen));
        assert!(report.failures.iter().all(|it| it.cause == Cause::FailedUnseen), "{report}");
        let text = report.to_string();
        for part in
            ["report its error by `tx.saw(&error)`", "what ran on the lent connection isn't listed"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
    // An error of the closure's own is nobody else's business.
    let own = Script::new([Step::Lent("SELECT 1".into()), Step::Fail("sold out")]);
    let error = db.run(call(), own.clone()).await.unwrap_err();
    assert!(matches!(error, AppError::Own("sold out")), "{error:?}");
    assert_eq!((own.attempts(), shop.balance_of(1).await, shop.busy().await), (1, 101, 0));
}

async fn a_deadlock_is_tried_again(driver: Driver) {
    let server = Postgres::builder().setting("deadlock_timeout", "10ms").start().await.unwrap();
    let shop = Shop::on(&server, "deadlock").await.unwrap();
    let db = shop.database(driver);
    let both_hold = Arc::new(Barrier::new(2));
    let meet = move || {
        let both_hold = Arc::clone(&both_hold);
        Step::awaiting(move || {
            let both_hold = Arc::clone(&both_hold);
            async move {
                both_hold.wait().await;
                Ok(())
            }
        })
    };
    let script = |first: i32, second: i32| {
        let steps = [Step::Credit(first, 1), meet(), Step::Credit(second, 1)];
        // Then in one order.
        Script::first(steps, [Step::Credit(1, 1), Step::Credit(2, 1)])
    };
    let (one, two) = (script(1, 2), script(2, 1));
    // Patient about locks, so that it is the server that finds the deadlock.
    let call = || Call::new("deadlock").with(TxOptions::new().adaptive_lock_timeout(false));
    let (first, second) = tokio::join!(db.run(call(), one.clone()), db.run(call(), two.clone()));
    first.unwrap();
    second.unwrap();
    // More than once, if the victim is back before the other one has woken up.
    assert!(one.attempts() + two.attempts() >= 3, "one of them was the victim");
    assert_eq!((shop.balance_of(1).await, shop.balance_of(2).await), (102, 102));
}

async fn a_lock_that_is_not_granted_is_tried_again(driver: Driver) {
    let shop = Shop::open("lock_timeout").await.unwrap();
    shop.watcher
        .batch_execute("BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2")
        .await
        .unwrap();
    let script = Script::first([Step::Credit(2, 1)], [Step::Credit(1, 1)]);
    let call = Call::new("lock timeout").with(TxOptions::new().lock_timeout(20 * MS));
    shop.database(driver).run(call, script.clone()).await.unwrap();
    assert_eq!(script.attempts(), 2);
    shop.watcher.batch_execute("ROLLBACK").await.unwrap();
}

async fn a_write_skew_is_tried_again(driver: Driver) {
    let shop = Shop::open("skew").await.unwrap();
    let db = shop.database(driver);
    let meanwhile = {
        let (db, call) = (db.clone(), || Call::new("skew").with(serializable()));
        Step::awaiting(move || {
            let (db, call) = (db.clone(), call());
            let script =
                Script::new([Step::sql("SELECT sum(balance) FROM accounts"), Step::Credit(2, 1)]);
            // On another task: it is somebody else's transaction.
            async move {
                tokio::spawn(async move { db.run(call, script).await.map(drop) }).await.unwrap()
            }
        })
    };
    let read = Step::sql("SELECT sum(balance) FROM accounts");
    let script =
        Script::first([read.clone(), meanwhile, Step::Credit(1, 1)], [read, Step::Credit(1, 1)]);
    db.run(Call::new("skew").with(serializable()), script.clone()).await.unwrap();
    assert_eq!(
        (script.attempts(), shop.balance_of(1).await, shop.balance_of(2).await),
        (2, 101, 101)
    );
}

fn serializable() -> TxOptions {
    TxOptions::new().isolation(Isolation::Serializable)
}

async fn a_killed_connection_is_replaced(driver: Driver) {
    let shop = Shop::open("killed").await.unwrap();
    let db = shop.database(driver);
    let suicide = Step::Swallow("SELECT pg_terminate_backend(pg_backend_pid())".into());
    let script = Script::first([Step::Credit(1, 1), suicide], [Step::Credit(1, 1)]);
    db.run(Call::new("killed"), script.clone()).await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (2, 101));

    // While it rested in the pool.
    let backends = shop.backends().await;
    shop.ask(&format!("SELECT count(pg_terminate_backend({}))", backends[0])).await;
    while shop.backends().await == backends {}
    db.run(Call::new("killed"), Script::new([Step::Credit(1, 1)])).await.unwrap();
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (102, 0));
}

async fn a_server_that_became_read_only_is_left(driver: Driver) {
    let server = Postgres::start().await.unwrap();
    let shop = Shop::on(&server, "failover").await.unwrap();
    let db = shop.database(driver);
    let read_only =
        |on: &str| format!("ALTER ROLE postgres SET default_transaction_read_only = {on}");
    let other = Arc::new(Shop::on(&server, "promotes").await.unwrap());
    shop.watcher.batch_execute(&read_only("on")).await.unwrap();
    let promote = {
        let sql = read_only("off");
        Step::awaiting(move || {
            let (other, sql) = (Arc::clone(&other), sql.clone());
            async move {
                other.watcher.batch_execute(&sql).await.unwrap();
                Ok(())
            }
        })
    };
    // The next connection is one to the server that took over.
    let script = Script::first([promote, Step::Credit(1, 1)], [Step::Credit(1, 1)]);
    db.run(Call::new("failover"), script.clone()).await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (2, 101));
}

async fn too_many_connections_are_waited_out(driver: Driver) {
    let server = Postgres::builder()
        .setting("max_connections", "8")
        .setting("superuser_reserved_connections", "0")
        .start()
        .await
        .unwrap();
    let shop = Shop::on(&server, "crowded").await.unwrap();
    let mut crowd = Vec::new();
    while let Ok((client, connection)) =
        tokio_postgres::connect(server.url(), tokio_postgres::NoTls).await
    {
        tokio::spawn(connection);
        crowd.push(client);
    }
    let db = shop.database(driver);
    let script = Script::new([Step::Credit(1, 1)]);
    let call =
        Call::new("crowded").with(TxOptions::new().timeout(500 * MS).checkout_timeout(300 * MS));
    let error = db.run(call, script.clone()).await.unwrap_err().ours();
    assert_eq!(error.outcome(), Outcome::RolledBack);
    let said = error.report().unwrap().failures[0].failure.to_string();
    assert!(said.contains("53300") || said.contains("max_connections"), "{said}");
    assert_eq!(script.attempts(), 0);

    let waiting = db.run(Call::new("crowded"), script.clone());
    let (result, ()) = tokio::join!(waiting, async { crowd.clear() });
    result.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (1, 101));
}

async fn a_stale_plan_is_planned_anew(driver: Driver) {
    let shop = Shop::open("stale").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    shop.watcher.batch_execute("CREATE VIEW seen AS SELECT 1 AS id").await.unwrap();
    let prepared = [Step::sql("PREPARE plan AS SELECT * FROM seen"), Step::sql("EXECUTE plan")];
    db.run(Call::new("stale"), Script::new(prepared)).await.unwrap();
    let ddl = "DROP VIEW seen; CREATE VIEW seen AS SELECT 1 AS id, 2 AS more";
    shop.watcher.batch_execute(ddl).await.unwrap();
    let script = Script::first([Step::sql("EXECUTE plan")], [Step::Credit(1, 1)]);
    db.run(Call::new("stale"), script.clone()).await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (2, 101));
}

async fn a_constraint_that_refuses_commit_is_named(driver: Driver) {
    let shop = Shop::open("constraint").await.unwrap();
    let orders =
        "CREATE TABLE orders (account int CONSTRAINT of_an_account REFERENCES accounts (id)
                    DEFERRABLE INITIALLY DEFERRED)";
    shop.watcher.batch_execute(orders).await.unwrap();
    let script = Script::new([Step::sql("INSERT INTO orders VALUES (4711)")]);
    let error = shop.database(driver).run(Call::new("order"), script).await.unwrap_err().ours();
    let failure = error.failure().unwrap();
    assert_eq!(failure.constraint(), Some("of_an_account"), "{failure:?}");
    assert_eq!(failure.table(), Some("orders"));
    assert!(failure.detail().is_some_and(|detail| detail.contains("4711")), "{failure:?}");
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.to_string().contains("of_an_account"), "{source}");
}

async fn a_role_that_may_only_read_is_found_out_once(driver: Driver) {
    let server = Postgres::start().await.unwrap();
    let shop = Shop::on(&server, "reads").await.unwrap();
    let read_only = "ALTER ROLE postgres SET default_transaction_read_only = on";
    shop.watcher.batch_execute(read_only).await.unwrap();
    let db = shop.database(driver);
    let script = Script::new([Step::Credit(1, 1)]);
    let result = db.run(Call::new("reads"), script.clone()).await;
    assert_eq!((result.is_err(), script.attempts()), (true, 2));
    let writes = TxOptions::new().read_only(false);
    db.run(Call::new("writes").with(writes), script.clone()).await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (3, 101));
}

async fn an_idle_transaction_is_not_committed(driver: Driver) {
    let shop = Arc::new(Shop::open("idle").await.unwrap());
    let db = shop.database(driver);
    let wait = {
        let shop = Arc::clone(&shop);
        Step::awaiting(move || {
            let shop = Arc::clone(&shop);
            async move {
                while shop.busy().await > 0 {}
                Ok(())
            }
        })
    };
    let script = Script::new([Step::Credit(1, 1), wait, Step::Credit(1, 1)]);
    let options = TxOptions::new().idle_in_transaction_session_timeout(20 * MS);
    let error = db.run(Call::new("idle").with(options), script.clone()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::RolledBack);
    assert_eq!((script.attempts(), shop.balance_of(1).await), (1, 100));
}

async fn an_empty_pool_is_told(driver: Driver) {
    let shop = Shop::open("starved").await.unwrap();
    let db = shop.database_at(driver, &shop.url, 1);
    let second = {
        let db = db.clone();
        Step::awaiting(move || {
            let db = db.clone();
            let options = TxOptions::new()
                .checkout_timeout(20 * MS)
                .retry(RetryPolicy::new().max_attempts(1));
            let call = Call::new("second").with(options);
            let task = async move { db.run(call, Script::new([])).await.map(drop) };
            async move { tokio::spawn(task).await.unwrap() }
        })
    };
    let error = db.run(Call::new("first"), Script::new([second])).await.unwrap_err().ours();
    assert_eq!(error.cause(), Some(Cause::NoConnection));
    assert!(error.to_string().contains("no connection came free"), "{error}");
}

async fn attempts_end(driver: Driver) {
    let shop = Shop::open("attempts").await.unwrap();
    let script = Script::new([Step::Credit(1, 987_654), Step::raise("40001")]);
    let retry = RetryPolicy::new().max_attempts(3).min_pause(MS).max_pause(2 * MS);
    let call = Call::new("attempts").with(TxOptions::new().retry(retry));
    let error = shop.database(driver).run(call, script.clone()).await.unwrap_err();
    assert!(matches!(error, AppError::Opaque), "the closure's own: {error:?}");
    let report = shop.reports.last();
    assert_eq!((report.gave_up, script.attempts()), (Some(GiveUp::Attempts(3)), 3));
    assert_eq!((report.failures.len(), shop.balance_of(1).await), (3, 100));
    let statements: Vec<_> = report.trail.statements().map(|s| s.sql.as_str()).collect();
    assert!(statements.len() == 2 && statements[0].contains("UPDATE"), "{statements:?}");
    assert!(statements[1].contains("40001"), "{statements:?}");
    assert!(!format!("{report} {statements:?}").contains("987654"), "a bind value");
}

async fn bind_values_are_shown_on_demand_or_refused(driver: Driver) {
    let shop = Shop::open("bind_values").await.unwrap();
    let script = Script::new([Step::Credit(1, 987_654), Step::raise("40001")]);
    let retry = RetryPolicy::new().max_attempts(1);
    let call = Call::new("bind values").with(TxOptions::new().retry(retry).bind_values(true));
    let error = shop.database(driver).run(call, script).await.unwrap_err();
    if driver.library() == Library::Sqlx {
        let error = error.ours();
        assert!(error.to_string().contains("`bind_values` can't be true"), "{error}");
    } else {
        let report = shop.reports.last();
        let mut statements = report.trail.statements();
        assert!(statements.any(|statement| statement.sql.contains("987654")), "{report}");
    }
}

async fn a_nested_transaction_is_refused(driver: Driver) {
    let shop = Shop::open("nested").await.unwrap();
    // Whichever drivers are mixed, it is one database.
    for inner in Driver::ALL {
        let db = shop.database(driver);
        let inner = if inner == driver { db.clone() } else { shop.database(inner) };
        let nested = Step::awaiting(move || {
            let db = inner.clone();
            async move {
                db.run(Call::new("inner").inline(), Script::new([Step::Credit(2, 1)]))
                    .await
                    .map(drop)
            }
        });
        let script = Script::new([Step::Credit(1, 1), nested]);
        let error = db.run(Call::new("outer"), script).await.unwrap_err().ours();
        assert!(error.is_nested_transaction(), "{error:?}");
        let ErrorKind::NestedTransaction { outer, inner } = error.kind() else {
            panic!("{error:?}")
        };
        assert_eq!((outer.0.as_str(), inner.0.as_str()), ("outer", "inner"));
    }
    assert_eq!(
        (shop.balance_of(1).await, shop.balance_of(2).await, shop.busy().await),
        (100, 100, 0)
    );
}

async fn options_reach_the_server(driver: Driver) {
    let shop = Shop::open("options").await.unwrap();
    let options = TxOptions::new()
        .isolation(Isolation::RepeatableRead)
        .lock_timeout(777 * MS)
        .adaptive_lock_timeout(false)
        .statement_timeout(7_777 * MS);
    let check = format!(
        "DO $$ BEGIN
           ASSERT current_setting('transaction_isolation') = 'repeatable read';
           ASSERT current_setting('lock_timeout') = '777ms';
           ASSERT current_setting('statement_timeout') = '7777ms';
           ASSERT current_setting('application_name') = '{}/options';
         END $$",
        shop.name()
    );
    let script = Script::new([Step::sql(check)]);
    shop.database(driver).run(Call::new("options").with(options), script).await.unwrap();
}
