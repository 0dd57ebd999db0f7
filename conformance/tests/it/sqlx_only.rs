//! What is SQLx's own: its ways to run statements, the connection that is lent, and the server that looks for its client.

use futures_util::{FutureExt, StreamExt, TryStreamExt};
use sqlx::{
    Acquire, AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres, QueryBuilder,
    Row, SqlSafeStr, Statement, postgres::PgPoolOptions, query, query_as, query_scalar, raw_sql,
};
use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};
use txsafe_conformance::{
    cases::drop_after,
    error::AppError,
    script::{Script, raise},
    shop::Shop,
};
use txsafe_sqlx::{Cause, Database, ErrorKind, Outcome, TxOptions};
use txsafe_testkit::{At, Fault, Lab};

fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(2).connect_lazy(url).unwrap()
}

fn database(shop: &Shop) -> Database {
    Database::builder(pool(&shop.url)).service(shop.name()).build().unwrap()
}

async fn credit(conn: &mut PgConnection, id: i32, amount: i64) -> Result<(), sqlx::Error> {
    let sql = "UPDATE accounts SET balance = balance + $2 WHERE id = $1";
    query(sql).bind(id).bind(amount).execute(conn).await.map(drop)
}

#[tokio::test]
async fn statements_in_every_form_run_on_the_transaction() {
    let shop = Shop::open("forms").await.unwrap();
    let db = database(&shop);
    let committed = db.transaction("forms", async |mut tx| {
        let (one,): (i64,) = query_as("SELECT balance FROM accounts WHERE id = $1")
            .bind(1)
            .fetch_one(&mut tx)
            .await?;
        let all: Vec<i32> =
            query_scalar("SELECT id FROM accounts ORDER BY id").fetch_all(&mut tx).await?;
        let mut insert = QueryBuilder::<Postgres>::new("INSERT INTO ledger ");
        insert.push_values([1_i64, 2, 3], |mut row, n| {
            row.push_bind(n);
        });
        let inserted = insert.build().execute(&mut tx).await?.rows_affected();
        let sum: i64 = query("SELECT balance FROM accounts")
            .fetch(&mut tx)
            .try_fold(0, async |sum, row| Ok(sum + row.get::<i64, _>(0)))
            .await?;
        let mut batches = raw_sql("SELECT 1; SELECT 2").fetch_many(&mut tx);
        let mut steps = 0;
        while batches.next().await.transpose()?.is_some() {
            steps += 1;
        }
        drop(batches);
        let prepared = (&mut tx).prepare("SELECT $1::int4".into_sql_str()).await?;
        let seven: i32 = prepared.query_scalar().bind(7).fetch_one(&mut tx).await?;
        Ok::<_, AppError>((one, all.len(), inserted, sum, steps, seven))
    });
    assert_eq!(committed.await.unwrap(), (100, 10, 3, 1_000, 4, 7));
    assert_eq!(shop.ask("SELECT count(*) FROM ledger").await, 3);
}

/// A helper of somebody else's: it begins where it is given a pool.
async fn charge<'c>(
    on: impl Acquire<'c, Database = Postgres>,
    id: i32,
    amount: i64,
) -> Result<(), sqlx::Error> {
    let mut tx = on.begin().await?;
    credit(&mut tx, id, -amount).await?;
    query("INSERT INTO ledger VALUES ($1)").bind(amount).execute(&mut *tx).await?;
    tx.commit().await
}

#[tokio::test]
async fn what_a_helper_acquires_is_a_savepoint() {
    let shop = Shop::open("acquire").await.unwrap();
    let db = database(&shop);
    charge(db.pool(), 1, 10).await.unwrap();
    let charged = db.transaction("charge", async |mut tx| {
        charge(&mut tx, 1, 10).await?;
        // The accounts don't go below zero: it is undone alone, by the helper that dropped its savepoint.
        charge(&mut tx, 2, 200).await.unwrap_err();
        credit((&mut tx).acquire().await?, 3, 1).await?;
        Ok::<_, AppError>(())
    });
    charged.await.unwrap();
    let balances = [shop.balance_of(1).await, shop.balance_of(2).await, shop.balance_of(3).await];
    assert_eq!((balances, shop.ask("SELECT count(*) FROM ledger").await), ([80, 100, 101], 2));

    // All of it ends with the transaction.
    let fails = db.transaction("charge", async |mut tx| {
        charge(&mut tx, 1, 10).await?;
        Err::<(), _>(AppError::Own("no"))
    });
    fails.await.unwrap_err();
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (80, 0));

    // By hand, too, and a failure that is reported has the transaction tried again.
    let mut tx = db.begin("by hand").await.unwrap();
    charge(&mut *tx, 1, 10).await.unwrap();
    tx.commit().await.unwrap();
    let (runs, collides) = (AtomicU32::new(0), raise("40001"));
    let tried = db.transaction("again", async |mut tx| {
        let mut inner = Connection::begin(tx.connection()).await?;
        let failed = runs.fetch_add(1, Relaxed) < 2;
        let helped = match failed {
            true => inner.execute(AssertSqlSafe(collides.clone())).await.map(drop),
            false => credit(&mut inner, 1, 10).await,
        };
        if helped.is_ok() {
            inner.commit().await?
        } else {
            inner.rollback().await?
        }
        Ok::<_, AppError>(helped.inspect_err(|error| tx.saw(error))?)
    });
    tried.await.unwrap();
    assert_eq!((runs.load(Relaxed), shop.balance_of(1).await), (3, 80));
}

#[tokio::test]
async fn copy_runs_on_the_connection_that_is_lent() {
    let shop = Shop::open("copy").await.unwrap();
    let db = database(&shop);
    let copied = db.transaction("copy", async |mut tx| {
        let mut copy = tx.connection().copy_in_raw("COPY ledger FROM STDIN").await?;
        copy.send(&b"1\n2\n"[..]).await?;
        let rows = copy.finish().await?;
        let out = tx.connection().copy_out_raw("COPY ledger TO STDOUT").await?;
        let out: Vec<_> = out.try_collect().await?;
        Ok::<_, AppError>((rows, out.concat()))
    });
    assert_eq!(copied.await.unwrap(), (2, b"1\n2\n".to_vec()));

    // Dropped half-way: SQLx tells the server, and the transaction is aborted without our seeing it.
    let dropped = db.transaction("copy", async |mut tx| {
        let mut copy = tx.connection().copy_in_raw("COPY ledger FROM STDIN").await?;
        copy.send(&b"3\n"[..]).await?;
        drop(copy);
        Ok::<_, AppError>(())
    });
    assert_eq!(dropped.await.unwrap_err().outcome(), Outcome::RolledBack);
    assert_eq!((shop.ask("SELECT count(*) FROM ledger").await, shop.busy().await), (2, 0));
}

#[tokio::test]
async fn a_lent_connection_may_swallow_and_still_never_becomes_ok() {
    let shop = Shop::open("lent").await.unwrap();
    let db = database(&shop);
    let swallowed = db.transaction("lent", async |mut tx| {
        credit(tx.connection(), 1, 5).await?;
        let _ignored = credit(tx.connection(), 1, -1_000).await;
        Ok::<_, AppError>(())
    });
    let error = swallowed.await.unwrap_err().ours();
    assert!(error.is_rolled_back_at_commit(), "{error:?}");

    let ended = db.transaction("lent", async |mut tx| {
        tx.connection().execute("ROLLBACK").await?;
        Ok::<_, AppError>(())
    });
    assert!(matches!(ended.await.unwrap_err().ours().kind(), ErrorKind::EndedByClosure));
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (100, 0));

    // Where all went well, the connection comes back as good as it was.
    for _ in 0..10 {
        let lent = db.transaction("lent", async |mut tx| {
            Ok::<_, AppError>(credit(tx.connection(), 1, 1).await?)
        });
        lent.await.unwrap();
        query("UPDATE ledger SET operation = 0").execute(db.pool()).await.unwrap();
    }
    assert_eq!((shop.balance_of(1).await, shop.busy().await), (110, 0));
    assert!(shop.backends().await.len() <= 2);
}

#[tokio::test]
async fn what_failed_on_a_lent_connection_is_tried_again_if_it_is_told() {
    let shop = Shop::open("saw").await.unwrap();
    let db = database(&shop);

    #[derive(Debug, thiserror::Error)]
    #[error("the repository failed")]
    struct Wrapped(#[source] sqlx::Error);

    let script = Script::new([]);
    let told = db.transaction("saw", async |mut tx| {
        let _ = script.next_attempt();
        if script.attempts() == 1 {
            let deadlock = AssertSqlSafe(raise("40P01"));
            let failed = tx.connection().execute(deadlock).await.map_err(Wrapped);
            failed.inspect_err(|error| tx.saw(error)).map_err(|_| AppError::Opaque)?;
        }
        credit(tx.connection(), 1, 1).await?;
        Ok::<_, AppError>(())
    });
    told.await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (2, 101));
}

#[tokio::test]
async fn what_the_closure_dropped_is_waited_for() {
    let shop = Shop::open("abandoned").await.unwrap();
    let db = database(&shop);
    // A stream of which one row was wanted, and a statement that was given up: both decide with the rest.
    let partly = db.transaction("abandoned", async |mut tx| {
        let mut rows = query("SELECT generate_series(1, 100000)").fetch(&mut tx);
        let first: i32 = rows.next().await.unwrap()?.get(0);
        drop(rows);
        drop_after(1, query("UPDATE accounts SET balance = 1 WHERE id = 1").execute(&mut tx)).await;
        Ok::<_, AppError>(first)
    });
    assert_eq!(partly.await.unwrap(), 1);

    let mut fails = 0;
    for polls in 1..6 {
        let failed = db.transaction("abandoned", async |mut tx| {
            credit(tx.connection(), 2, 1).await?;
            drop_after(polls, query("SELECT 1 / (id - id) FROM accounts").execute(&mut tx)).await;
            Ok::<_, AppError>(())
        });
        fails += i64::from(failed.await.is_err());
    }
    assert_eq!(shop.balance_of(2).await, 105 - fails, "all or nothing");
    assert!(fails > 0);
    while shop.busy().await > 0 {}
}

#[tokio::test]
async fn connections_that_are_held() {
    let shop = Shop::open("held").await.unwrap();
    let db = database(&shop);
    let mut plain = PgConnection::connect(&shop.url).await.unwrap();
    let on_plain = db.transaction_on(&mut plain, "held", async |mut tx| {
        credit(tx.connection(), 1, 1).await?;
        Ok::<_, AppError>(())
    });
    on_plain.await.unwrap();
    plain.execute("SELECT 1").await.unwrap();
    let script = Script::new([]);
    let lost = db.transaction_on(&mut plain, "held", async |mut tx| {
        let _ = script.next_attempt();
        let _gone = query("SELECT pg_terminate_backend(pg_backend_pid())").execute(&mut tx).await;
        Ok::<_, AppError>(())
    });
    let error = lost.await.unwrap_err().ours();
    assert_eq!((error.cause(), script.attempts()), (Some(Cause::ConnectionLost), 1));

    let mut pooled = db.pool().acquire().await.unwrap();
    let replaced = db.transaction_on(&mut pooled, "held", async |mut tx| {
        let _ = script.next_attempt();
        if script.attempts() == 2 {
            query("SELECT pg_terminate_backend(pg_backend_pid())").execute(&mut tx).await?;
        }
        query("UPDATE accounts SET balance = balance + 1 WHERE id = 1").execute(&mut tx).await?;
        Ok::<_, AppError>(())
    });
    replaced.await.unwrap();
    pooled.execute("SELECT 1").await.unwrap();
    assert_eq!((script.attempts(), shop.balance_of(1).await), (3, 102));

    // Given up: rolled back before anything else, or when it is dropped.
    for polls in 1..6 {
        let given_up = db.transaction_on(&mut pooled, "held", async |mut tx| {
            query("UPDATE accounts SET balance = 0 WHERE id = 1").execute(&mut tx).await?;
            tokio::task::yield_now().await;
            Err::<(), _>(AppError::Own("changed my mind"))
        });
        drop_after(polls, given_up).await;
        drop(pooled);
        while shop.busy().await > 0 {}
        pooled = db.pool().acquire().await.unwrap();
    }
    assert_eq!(shop.balance_of(1).await, 102);
}

#[tokio::test]
async fn a_server_that_cannot_look_for_its_client_is_used_all_the_same() {
    let shop = Shop::open("cannot_look").await.unwrap();
    let session = Lab::new(&shop.url).unwrap().session().await.unwrap();
    let db = Database::builder(pool(session.url())).build().unwrap();
    session.inject(At::Begin, Fault::Raise("22023")).unwrap();
    let options = TxOptions::new().statement_timeout(Duration::from_secs(5));
    let committed = db.with(options).transaction("cannot look", async |mut tx| {
        credit(tx.connection(), 1, 1).await?;
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!((session.waiting(), shop.balance_of(1).await), (0, 101));
}

#[tokio::test]
async fn bind_values_are_not_promised() {
    let pool = pool("postgres://nobody@localhost/nowhere");
    let refused = Database::builder(pool.clone()).bind_values(true).build().unwrap_err();
    assert!(refused.to_string().starts_with("`bind_values` can't be true: "), "{refused}");
    let db = Database::builder(pool).build().unwrap();
    let options = TxOptions::new().bind_values(true);
    let refused = db.with(options).transaction("refused", async |_tx| Ok::<_, AppError>(()));
    assert!(refused.await.unwrap_err().ours().to_string().contains("`bind_values`"));
}

#[tokio::test]
async fn what_was_running_at_the_deadline_is_told() {
    let shop = Shop::open("deadline").await.unwrap();
    let options = TxOptions::new().timeout(Duration::from_millis(500));
    let db = database(&shop);
    let slow = db.with(options).transaction("slow", async |mut tx| {
        raw_sql("SELECT pg_sleep(60)").execute(&mut tx).await?;
        Ok::<_, AppError>(())
    });
    let error = slow.await.unwrap_err().ours();
    assert_eq!(*error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    let trail = error.trail().unwrap().to_string();
    assert!(trail.contains("SELECT pg_sleep(60)  FAILED"), "{error:?}");
}

#[tokio::test]
async fn behind_a_savepoint_that_was_given_up_nothing_runs() {
    let shop = Shop::open("given_up").await.unwrap();
    let db = database(&shop);
    let ended = db.transaction("given up", async |mut tx| {
        let credit = "UPDATE accounts SET balance = balance + 5 WHERE id = 1";
        sqlx::query(credit).execute(&mut tx).await?;
        // SQLx rolls back more than the savepoint when its begin is dropped.
        // A server that answers at once is asked again.
        while tx.savepoint(async |_tx| Ok::<_, AppError>(())).now_or_never().is_some() {}
        let behind = sqlx::query("UPDATE accounts SET balance = 7 WHERE id = 2");
        assert!(behind.execute(&mut tx).await.is_err(), "it would be committed by itself");
        let inside = tx.savepoint(async |_tx| Ok::<_, AppError>(()));
        assert!(inside.await.is_err());
        Ok::<_, AppError>(())
    });
    ended.await.unwrap_err();
    assert_eq!((shop.balance_of(1).await, shop.balance_of(2).await), (100, 100));
    assert_eq!(shop.busy().await, 0);
}
