//! What can't be meant, and the message that names the cure.

use crate::{
    remedies::raise,
    support::{AppError, Attempts, Shop, credit},
};
use diesel_async::SimpleAsyncConnection;
use std::time::Duration;
use txsafe_diesel::{Budget, Database, ErrorKind, GiveUp, Outcome, RetryPolicy, TxOptions};
use txsafe_testkit::Postgres;

#[tokio::test]
async fn a_swallowed_error_never_becomes_ok() {
    let shop = Shop::open("swallowed").await;
    let attempts = Attempts::default();
    let swallowed = shop.db.transaction("swallowed", async |mut tx| {
        attempts.is_first();
        credit(&mut tx, 1, 1).await?;
        let _ignored = tx.batch_execute("INSERT INTO accounts VALUES (1, 1)").await;
        Ok::<_, AppError>(())
    });
    let error = swallowed.await.unwrap_err().ours();
    assert!(error.is_rolled_back_at_commit());
    assert_eq!(error.outcome(), Outcome::RolledBack);
    assert_eq!(error.failure().unwrap().statement(), Some("INSERT INTO accounts VALUES (1, 1)"));
    let text = error.to_string();
    assert!(text.contains("tx.savepoint") && text.contains("23505"), "{text}");
    assert_eq!((attempts.count(), shop.balance_of(1).await), (1, 100));

    let attempts = Attempts::default();
    let swallowed = shop.db.transaction("swallowed deadlock", async |mut tx| {
        if attempts.is_first() {
            let _ignored = raise(&mut tx, "40P01").await;
        }
        Ok::<_, AppError>(())
    });
    swallowed.await.unwrap();
    assert_eq!(attempts.count(), 2, "and one that was worth another attempt gets it");
}

#[tokio::test]
async fn nested_on_the_same_database_is_refused_with_both_places() {
    let shop = Shop::open("nested").await;
    let outer = shop.db.transaction("outer", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        let clone = shop.db.clone();
        let inner = clone.transaction("inner", async |_tx| Ok::<_, AppError>(()));
        inner.await
    });
    let error = outer.await.unwrap_err().ours();
    assert!(error.is_nested_transaction());
    let text = error.to_string();
    assert_eq!(text.matches("misuse.rs:").count(), 2, "{text}");
    assert!(text.contains("\"inner\"") && text.contains("\"outer\""), "{text}");
    assert!(text.contains("tx.savepoint"), "{text}");
    assert_eq!(shop.balance_of(1).await, 100, "the outer one returned the error");

    // Neighbours are not nested, and neither is what was spawned.
    let neighbour = async |name: &'static str| {
        let neighbour = shop.db.transaction(name, async |mut tx| {
            credit(&mut tx, 1, 1).await?;
            Ok::<_, AppError>(())
        });
        neighbour.await.unwrap();
    };
    tokio::join!(neighbour("one"), neighbour("two"));
    let spawning = shop.db.transaction("spawning", async |_tx| {
        let db = shop.db.clone();
        let task = tokio::spawn(async move {
            db.transaction("spawned", async |_tx| Ok::<_, AppError>(())).await
        });
        task.await.unwrap()
    });
    spawning.await.unwrap();
}

#[tokio::test]
async fn inside_another_database_only_the_outer_one_retries() {
    let shop = Shop::open("two_databases").await;
    let neighbour = Shop::on(Postgres::start().await.unwrap(), "two_databases").await;
    let other = &neighbour.db;
    let (outer_runs, inner_runs) = (Attempts::default(), Attempts::default());
    let outer = shop.db.transaction("outer", async |mut tx| {
        outer_runs.is_first();
        credit(&mut tx, 1, 1).await?;
        let inner = other.transaction("inner", async |mut tx| {
            inner_runs.is_first();
            raise(&mut tx, "40001").await?;
            Ok::<_, AppError>(())
        });
        inner.await
    });
    outer.await.unwrap_err();
    let report = neighbour.report();
    assert_eq!(report.gave_up, Some(GiveUp::Nested));
    assert!(report.to_string().contains("only the outer one retries"), "{report}");
    assert_eq!((outer_runs.count(), inner_runs.count()), (1, 1));
}

#[tokio::test]
async fn a_closure_that_ends_the_transaction_itself_is_told() {
    let shop = Shop::open("ended").await;
    for sql in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"] {
        let ended = shop.db.transaction("ended", async |mut tx| {
            credit(&mut tx, 1, 1).await?;
            tx.batch_execute(sql).await?;
            Ok::<_, AppError>(())
        });
        let error = ended.await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::EndedByClosure, "{sql}");
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
    assert_eq!(shop.busy().await, 0);
}

#[tokio::test]
async fn a_begin_that_is_refused_runs_nothing() {
    let shop = Shop::open("bad_begin").await;
    let version = shop.ask("SELECT current_setting('server_version_num')::bigint").await;
    if version >= 170_000 {
        let set = TxOptions::new().transaction_timeout(Duration::from_secs(9));
        let committed = shop.db.with(set).transaction("17", async |_tx| Ok::<_, AppError>(()));
        return committed.await.unwrap();
    }
    for await_begin in [false, true] {
        let options =
            TxOptions::new().transaction_timeout(Duration::from_secs(9)).await_begin(await_begin);
        let refused = shop.db.with(options).transaction("bad begin", async |mut tx| {
            credit(&mut tx, 1, 1).await?;
            Ok::<_, AppError>(())
        });
        let error = refused.await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::Failed);
        let text = error.to_string();
        assert!(text.contains("needs PostgreSQL 17"), "{text}");
        assert_eq!(shop.balance_of(1).await, 100);
        assert_eq!(shop.busy().await, 0);
    }
}

#[tokio::test]
async fn settings_and_names_that_cannot_be_meant() {
    let shop = Shop::open("settings_misuse").await;
    let pool = || shop.db.pool().clone();
    for (builder, parts) in [
        (Database::builder(pool()).lock_timeout(Duration::ZERO), ["`lock_timeout`", "no limit"]),
        (
            Database::builder(pool()).retry(RetryPolicy::new().max_attempts(0)),
            ["`max_attempts`", "1 or more"],
        ),
        (Database::builder(pool()).service(""), ["`service`", "don't set it"]),
        (Database::builder(pool()).budget(Budget::new(0)), ["`budget`", "no retry"]),
    ] {
        let text = builder.build().unwrap_err().to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    let long = "x".repeat(129);
    for (name, part) in [("", "name what the code does"), (&long, "129 bytes"), ("a\nb", "control")]
    {
        let refused = shop.db.transaction(name, async |_tx| Ok::<_, AppError>(()));
        let text = refused.await.unwrap_err().ours().to_string();
        assert!(text.contains("`transaction name`") && text.contains(part), "{text}");
    }
    let short = TxOptions::new().timeout(Duration::from_millis(1));
    let refused = shop.db.with(short).transaction("short", async |_tx| Ok::<_, AppError>(()));
    assert!(refused.await.unwrap_err().ours().to_string().contains("min_pause"));
}
