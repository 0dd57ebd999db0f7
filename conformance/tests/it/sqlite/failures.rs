//! What fails: nothing runs behind it, and nothing is committed around it.

use super::bank::{Bank, DUPLICATE, DUPLICATE_ENDS};
use futures_util::{FutureExt, StreamExt};
use sqlx::{Executor, SqlSafeStr, sqlite::SqlitePoolOptions};
use txsafe::{ErrorKind, Outcome};
use txsafe_conformance::{
    error::AppError,
    script::{Script, Step},
};
use txsafe_sqlx::sqlite;

#[tokio::test]
async fn a_swallowed_failure_never_becomes_ok() {
    let bank = Bank::open("swallowed").await;
    for duplicate in [DUPLICATE, DUPLICATE_ENDS] {
        let steps = [Step::Credit(1, 5), Step::Swallow(duplicate.into())];
        let error = bank.run("swallows", &Script::new(steps)).await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::RolledBackAtCommit, "{error}");
        assert!(error.to_string().contains("(code 1555) in `INSERT"), "{error}");
        assert_eq!(error.outcome(), Outcome::RolledBack);
        assert_eq!(bank.balance_of(1).await, 100);
        bank.assert_free().await;
    }
}

#[tokio::test]
async fn nothing_runs_behind_a_failure_and_is_committed_by_itself() {
    let bank = Bank::open("behind").await;
    for duplicate in [DUPLICATE, DUPLICATE_ENDS] {
        let credit = "UPDATE accounts SET balance = 7 WHERE id = 2";
        let steps = [Step::Swallow(duplicate.into()), Step::Swallow(credit.into())];
        let error = bank.run("goes on", &Script::new(steps)).await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::RolledBackAtCommit, "{error}");
        let behind = Script::new([Step::Swallow(duplicate.into()), Step::sql(credit)]);
        assert!(matches!(bank.run("goes on", &behind).await, Err(AppError::Opaque)));
        assert_eq!(bank.balance_of(2).await, 100);
        bank.assert_free().await;
    }
}

#[tokio::test]
async fn a_savepoint_undoes_its_part() {
    let bank = Bank::open("savepoint").await;
    let part = vec![Step::Credit(1, 5), Step::sql(DUPLICATE)];
    let script = Script::new([Step::Savepoint(part), Step::Credit(2, 5)]);
    bank.run("savepoint", &script).await.unwrap();
    assert_eq!((bank.balance_of(1).await, bank.balance_of(2).await), (100, 105));
    // With the transaction its savepoint has gone.
    let part = vec![Step::Credit(1, 5), Step::sql(DUPLICATE_ENDS)];
    let script = Script::new([Step::Savepoint(part), Step::Credit(2, 5)]);
    bank.run("savepoint", &script).await.unwrap_err();
    assert_eq!((bank.balance_of(1).await, bank.balance_of(2).await), (100, 105));
    bank.assert_free().await;
}

#[tokio::test]
async fn a_savepoint_behind_a_failure_doesnt_undo_it() {
    let bank = Bank::open("late_savepoint").await;
    let overdraws = "UPDATE accounts SET balance = balance - 1000 WHERE id = 1";
    let steps = [Step::Swallow(overdraws.into()), Step::Savepoint(vec![]), Step::Credit(2, 1_000)];
    // The savepoint's error is swallowed, too, and so the credit comes.
    bank.run("transfer", &Script::new(steps)).await.unwrap_err();
    assert_eq!((bank.balance_of(1).await, bank.balance_of(2).await), (100, 100));
    bank.assert_free().await;
}

#[tokio::test]
async fn a_statement_that_was_given_up_is_not_committed_around() {
    let bank = Bank::open("given_up").await;
    let pool = SqlitePoolOptions::new().max_connections(1).connect(&bank.url).await.unwrap();
    let db = sqlite::Database::builder(pool).build().unwrap();
    // It counts for a while first.
    let overdraws = "UPDATE accounts SET balance = balance - 1000 - (WITH RECURSIVE n (i) AS
        (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT min(i) FROM n) WHERE id = 1";
    for goes_on in [false, true] {
        let ended = db.transaction("given up", async |mut tx| {
            let given_up = sqlx::query(overdraws).execute(&mut tx).now_or_never();
            assert!(given_up.is_none(), "it runs on a thread of its own");
            // Preparing another one doesn't make it forgotten.
            (&mut tx).prepare("SELECT 1".into_sql_str()).await?;
            if goes_on {
                let comment =
                    "-- rollback the reservation\nUPDATE accounts SET balance = 7 WHERE id = 2";
                assert!(sqlx::query(comment).execute(&mut tx).await.is_err());
                let credit = sqlx::query("UPDATE accounts SET balance = 7 WHERE id = 2");
                assert!(credit.execute(&mut tx).await.is_err());
            }
            Ok::<_, AppError>(())
        });
        let error = ended.await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::RolledBackAtCommit, "{error}");
        assert!(error.to_string().contains("its future was dropped"), "{error}");
        assert_eq!((bank.balance_of(1).await, bank.balance_of(2).await), (100, 100));
    }
    // What only reads does no harm.
    let read = db.transaction("read", async |mut tx| {
        drop(sqlx::query("SELECT * FROM accounts").fetch(&mut tx).next().await);
        sqlx::query("UPDATE accounts SET balance = 7 WHERE id = 2").execute(&mut tx).await?;
        Ok::<_, AppError>(())
    });
    read.await.unwrap();
    assert_eq!(bank.balance_of(2).await, 7);
}

#[tokio::test]
async fn settings_of_sessions_are_refused() {
    let bank = Bank::open("sessions").await;
    let open = || sqlx::SqlitePool::connect_lazy(&bank.url).unwrap();
    let builder = txsafe_sqlx::sqlite::Database::builder(open()).role("tenant");
    let refused = builder.build().unwrap_err().to_string();
    assert!(refused.contains("`role`") && refused.contains("no such settings"), "{refused}");
    let db = txsafe_sqlx::sqlite::Database::builder(open()).build().unwrap();
    let options = txsafe::TxOptions::new().set_local("app.tenant_id", "7");
    let refused = db.with(options).begin("tenant").await.unwrap_err().to_string();
    assert!(refused.contains("`set_local`") && refused.contains("no such settings"), "{refused}");
}
