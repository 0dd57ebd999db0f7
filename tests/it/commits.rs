//! A transaction that goes well: what runs in it, and under which settings.

use crate::support::{AppError, Shop, accounts, balance, credit};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::time::Duration;
use tokio::try_join;
use txsafe_diesel::{Isolation, TxOptions};

#[tokio::test]
async fn helpers_over_the_drivers_own_types_work_as_they_are() {
    let shop = Shop::open("helpers").await;
    let (from, to) = (1, 2);
    let sums = shop
        .db
        .transaction("transfer", async |mut tx| {
            credit(&mut tx, from, -30).await?;
            credit(&mut tx, to, 30).await?;
            // Two queries at once, over `&AsyncPgConnection`.
            let (a, b) = try_join!(balance(&tx, from), balance(&tx, to))?;
            let all: i64 = accounts::table.count().get_result(&mut tx).await?;
            Ok::<_, AppError>((a, b, all))
        })
        .await
        .unwrap();
    assert_eq!(sums, (70, 130, 10));
    assert_eq!((shop.balance_of(1).await, shop.balance_of(2).await), (70, 130));
}

#[tokio::test]
async fn settings_hold_inside_and_end_with_the_transaction() {
    let shop = Shop::with("settings", 1, |builder| builder.adaptive_lock_timeout(false)).await;
    let options = TxOptions::new()
        .isolation(Isolation::Serializable)
        .read_only(true)
        .deferrable(true)
        .lock_timeout(Duration::from_millis(123))
        .statement_timeout(Duration::from_secs(7))
        .idle_in_transaction_session_timeout(Duration::from_secs(11));
    let settings = [
        "lock_timeout",
        "statement_timeout",
        "idle_in_transaction_session_timeout",
        "transaction_isolation",
        "transaction_read_only",
        "transaction_deferrable",
    ];
    let inside = shop
        .db
        .with(options)
        .transaction("o'clock \"Überweisung\"", async |mut tx| {
            let mut values = Vec::new();
            for setting in settings {
                values.push(show(&mut tx, setting).await?);
            }
            values.push(show(&mut tx, "application_name").await?);
            Ok::<_, AppError>(values)
        })
        .await
        .unwrap();
    assert_eq!(inside[..6], ["123ms", "7s", "11s", "serializable", "on", "on"]);
    // Older servers show what isn't ASCII as question marks; the quotes must have survived.
    assert!(inside[6].contains("/o'clock \""), "{}", inside[6]);

    let mut conn = shop.db.pool().get().await.unwrap();
    for (setting, value) in [("lock_timeout", "0"), ("transaction_isolation", "read committed")] {
        assert_eq!(show(&mut conn, setting).await.unwrap(), value, "ended with the transaction");
    }
}

async fn show(conn: &mut diesel_async::AsyncPgConnection, setting: &str) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Value {
        #[diesel(sql_type = diesel::sql_types::Text)]
        value: String,
    }
    let query = diesel::sql_query("SELECT current_setting($1) AS value");
    let row: Value = query.bind::<diesel::sql_types::Text, _>(setting).get_result(conn).await?;
    Ok(row.value)
}

#[tokio::test]
async fn a_name_that_looks_like_sql_stays_a_name() {
    let shop = Shop::open("names").await;
    for name in ["'; DROP TABLE accounts; --", r"back\slash\'; --", "$1 %s {} \u{1F980}"] {
        let committed = shop.db.transaction(name, async |mut tx| {
            credit(&mut tx, 1, 1).await?;
            Ok::<_, AppError>(())
        });
        committed.await.unwrap();
    }
    assert_eq!(shop.balance_of(1).await, 103);
}

#[tokio::test]
async fn a_unix_socket_is_observed_too() {
    let server = txsafe_testkit::Postgres::start().await.unwrap();
    let url = server.socket_url().unwrap().to_owned();
    let shop = Shop::on(server, "socket").await;
    let pool =
        diesel_async::pooled_connection::deadpool::Pool::builder(txsafe_diesel::manager(url));
    let db = txsafe_diesel::Database::builder(pool.build().unwrap()).build().unwrap();
    let attempts = crate::support::Attempts::default();
    let raised = db.transaction("over a socket", async |mut tx| {
        if attempts.is_first() {
            crate::remedies::raise(&mut tx, "40P01").await?;
        }
        Ok::<_, AppError>(())
    });
    raised.await.unwrap();
    assert_eq!(attempts.count(), 2, "the code was read off the wire");
    assert_eq!(shop.busy().await, 0);
}

#[tokio::test]
async fn a_connection_that_the_caller_holds() {
    let shop = Shop::with("held", 1, |builder| builder).await;
    let mut conn = shop.db.pool().get().await.unwrap();
    let attempts = crate::support::Attempts::default();
    let committed = shop.db.transaction_on(&mut conn, "on held", async |mut tx| {
        credit(&mut tx, 1, 5).await?;
        if attempts.is_first() {
            crate::remedies::raise(&mut tx, "40001").await?;
        }
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!((attempts.count(), shop.balance_of(1).await), (2, 105));

    // Killed in the middle, it is replaced inside the pool's object, in a pool of one.
    let attempts = crate::support::Attempts::default();
    let committed = shop.db.transaction_on(&mut conn, "replaced", async |mut tx| {
        if attempts.is_first() {
            crate::remedies::terminate(&shop, &mut tx).await;
        }
        credit(&mut tx, 1, 5).await?;
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!((attempts.count(), shop.balance_of(1).await), (2, 110));
}

#[tokio::test]
async fn once_runs_once_and_may_give_away_what_it_captured() {
    let shop = Shop::open("once").await;
    let receipt = String::from("receipt");
    let attempts = crate::support::Attempts::default();
    let given = shop
        .db
        .transaction_once("once", async move |mut tx| {
            credit(&mut tx, 1, 1).await?;
            Ok::<_, AppError>(receipt)
        })
        .await
        .unwrap();
    assert_eq!(given, "receipt");

    let failed = shop.db.transaction_once("once", async |mut tx| {
        attempts.is_first();
        crate::remedies::raise(&mut tx, "40P01").await?;
        Ok::<_, AppError>(())
    });
    failed.await.unwrap_err();
    assert_eq!(shop.report().gave_up, Some(txsafe_diesel::GiveUp::Once));
    assert_eq!(attempts.count(), 1);
}
