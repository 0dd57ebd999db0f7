//! Behind PgBouncer in transaction mode: what claims to work there does, and what can't says why.
//!
//! The PgBouncer of Debian 12 doesn't follow prepared statements, as one from 1.21 on can. SQLx and sync Diesel can do
//! without; diesel-async can't, not even while it connects.

mod bouncer;

use bouncer::Bouncer;
use diesel::{
    Connection, PgConnection, RunQueryDsl,
    connection::CacheSize,
    r2d2::{ConnectionManager, CustomizeConnection, Pool},
    sql_types::{BigInt, Integer},
};
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;
use txsafe::{Keyed, RetryPolicy, TxOptions};
use txsafe_conformance::{
    cases::drop_after,
    drivers::{Call, Driver},
    error::AppError,
    script::{Script, Step, raise},
    shop::Shop,
};
use txsafe_testkit::Postgres;

/// A shop whose connections go through a PgBouncer with two server connections for all of them.
async fn behind() -> (Shop, Bouncer, Postgres) {
    let server = Postgres::start().await.unwrap();
    let shop = Shop::on(&server, "bounced").await.unwrap();
    // The pooler keeps no startup option for anybody.
    let sql = format!("ALTER ROLE postgres SET search_path = {}", shop.name());
    shop.watcher.batch_execute(&sql).await.unwrap();
    let bouncer = Bouncer::start(server.port());
    (shop, bouncer, server)
}

#[tokio::test]
async fn simple_statements_and_all_that_is_ours() {
    for driver in Driver::ALL.into_iter().filter(|driver| *driver != Driver::DieselAsync) {
        let (shop, bouncer, _server) = behind().await;
        let db = shop.database_at(driver, &bouncer.url(shop.name()), 4);
        let credit = |id: i32| {
            Step::sql(format!("UPDATE accounts SET balance = balance + 1 WHERE id = {id}"))
        };

        // Settings are set, and gone with the transaction: whoever is next on that connection has its own.
        let settings = Step::sql(format!(
            "DO $$ BEGIN
               ASSERT current_setting('statement_timeout') = '7777ms';
               ASSERT current_setting('application_name') = '{}/settings';
             END $$",
            shop.name()
        ));
        let options = TxOptions::new().statement_timeout(Duration::from_millis(7_777));
        let script = Script::new([settings, credit(1)]);
        db.run(Call::new("settings").with(options), script).await.unwrap();
        assert_eq!(bouncer.ask("SHOW statement_timeout").await, "0", "{driver}");

        // Attempts, each on whichever server connection is free.
        let retry = RetryPolicy::new().min_pause(Duration::from_millis(1));
        for code in ["40001", "40P01"] {
            let script = Script::first([credit(1), Step::raise(code)], [credit(1)]);
            let call = Call::new("retried").with(TxOptions::new().retry(retry.clone()));
            db.run(call, script.clone()).await.unwrap();
            assert_eq!(script.attempts(), 2, "{driver}: {code}");
        }

        let swallowed = Script::new([credit(1), Step::Swallow("SELECT 1/0".into())]);
        let error = db.run(Call::new("swallowed"), swallowed).await.unwrap_err().ours();
        assert!(error.is_rolled_back_at_commit(), "{driver}: {error:?}");

        // What a prepared statement meets on another server connection, told with the cure.
        let lost = Script::new([Step::Swallow(raise("26000"))]);
        let error = db.run(Call::new("lost"), lost).await.unwrap_err();
        assert!(error.ours().to_string().contains("max_prepared_statements"), "{driver}");

        let script = Script::new([
            Step::Savepoint(vec![credit(2), Step::sql("SELECT 1/0")]),
            credit(1),
            Step::AfterCommit("committed"),
        ]);
        db.run(Call::new("savepoint"), script.clone()).await.unwrap();
        assert_eq!(script.notes(), ["committed"], "{driver}");

        // More clients than server connections, all at once.
        let calls = (0..20).map(|_| db.run(Call::new("crowd"), Script::new([credit(3)])));
        for result in futures_util::future::join_all(calls).await {
            result.unwrap();
        }
        let balances = [1, 2, 3].map(|id| shop.balance_of(id));
        let balances = futures_util::future::join_all(balances).await;
        assert_eq!((balances, shop.busy().await), (vec![104, 100, 120], 0), "{driver}");
    }
}

#[tokio::test]
async fn diesel_async_says_what_it_needs() {
    let (shop, bouncer, _server) = behind().await;
    let db = shop.database_at(Driver::DieselAsync, &bouncer.url(shop.name()), 8);
    // A statement that was prepared on one server connection is sent to another one sooner or later. On a new connection it
    // is tried again, which is good enough as a rule.
    let once = TxOptions::new().retry(RetryPolicy::new().max_attempts(1));
    let told = async {
        loop {
            let call = || Call::new("crowd").with(once.clone());
            let calls = (1..=8).map(|id| db.run(call(), Script::new([Step::Credit(id, 1)])));
            futures_util::future::join_all(calls).await;
            let told = shop.reports.take().map(|report| report.to_string());
            if let Some(told) = told.filter(|told| told.contains("prepared statement")) {
                return told;
            }
            shop.ask(&format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE application_name LIKE '{}%' AND pid <> pg_backend_pid()",
                shop.name()
            ))
            .await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
    assert!(told.contains("max_prepared_statements"), "{told}");
}

#[tokio::test]
async fn sqlx_binds_without_naming_statements() {
    let (shop, bouncer, _server) = behind().await;
    let pool = PgPoolOptions::new().max_connections(4).connect_lazy(&bouncer.url(shop.name()));
    let db = txsafe_sqlx::Database::builder(pool.unwrap()).build().unwrap();
    let transfer = async |n: i64| {
        let key = n.to_string();
        let keyed = db.idempotency_key(&key).transaction("transfer", async |mut tx| {
            let sql = "UPDATE accounts SET balance = balance + $2 WHERE id = $1";
            for (id, amount) in [(1, 1_i64), (2, -1)] {
                let query = sqlx::query(sql).bind(id).bind(amount).persistent(false);
                query.execute(&mut tx).await?;
            }
            Ok::<_, AppError>(())
        });
        keyed.await.unwrap()
    };
    futures_util::future::join_all((0..20).map(&transfer)).await;
    assert!(matches!(transfer(7).await, Keyed::AlreadyCommitted));
    assert_eq!((shop.balance_of(1).await, shop.balance_of(2).await), (120, 80));

    // Given up in the midst: the pooler ends the server's transaction with its client's connection.
    for polls in 1..12 {
        let given_up = db.transaction("given up", async |mut tx| {
            sqlx::raw_sql("UPDATE accounts SET balance = 0 WHERE id = 1").execute(&mut tx).await?;
            tokio::task::yield_now().await;
            Err::<(), _>(AppError::Own("changed my mind"))
        });
        drop_after(polls, given_up).await;
    }
    while shop.busy().await > 0 {}
    assert_eq!(shop.balance_of(1).await, 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn diesel_binds_without_naming_statements() {
    let (shop, bouncer, _server) = behind().await;
    let manager = ConnectionManager::<PgConnection>::new(bouncer.url(shop.name()));
    let pool = Pool::builder().max_size(4).connection_customizer(Box::new(Nameless));
    let db = txsafe_diesel::blocking::Database::builder(pool.build(manager).unwrap());
    let db = db.build().unwrap();
    let transfer = |n: i32| {
        let key = n.to_string();
        db.idempotency_key(&key).transaction("transfer", |mut tx| {
            let sql = "UPDATE accounts SET balance = balance + $2 WHERE id = $1";
            for (id, amount) in [(1, 1_i64), (2, -1)] {
                let query = diesel::sql_query(sql).bind::<Integer, _>(id);
                query.bind::<BigInt, _>(amount).execute(&mut *tx)?;
            }
            Ok::<_, AppError>(())
        })
    };
    std::thread::scope(|scope| {
        let clients = (0..4).map(|client| {
            let transfer = &transfer;
            scope.spawn(move || {
                for n in 0..5 {
                    transfer(client * 5 + n).unwrap();
                }
            })
        });
        clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    });
    assert!(matches!(transfer(7), Ok(Keyed::AlreadyCommitted)));
    assert_eq!((shop.balance_of(1).await, shop.balance_of(2).await), (120, 80));
}

/// Connections that give their prepared statements no names.
#[derive(Debug)]
struct Nameless;

impl CustomizeConnection<PgConnection, diesel::r2d2::Error> for Nameless {
    fn on_acquire(&self, conn: &mut PgConnection) -> Result<(), diesel::r2d2::Error> {
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        Ok(())
    }
}
