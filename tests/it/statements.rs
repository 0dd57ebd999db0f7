//! The statement that failed is named, however it was sent.

use crate::support::{AppError, Shop, balance};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use txsafe_diesel::SqlState;

const BY_ZERO: &str = "SELECT balance / 0 AS balance FROM accounts WHERE id = 1";

#[derive(QueryableByName)]
struct Balance {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    #[expect(dead_code, reason = "it never comes")]
    balance: i64,
}

async fn by_zero(mut conn: &AsyncPgConnection) -> QueryResult<Balance> {
    sql_query(BY_ZERO).get_result(&mut conn).await
}

/// The failing statements of the last report, with their codes.
fn failed(shop: &Shop) -> Vec<(String, String)> {
    let report = shop.report();
    assert_eq!(report.failures[0].failure.statement(), Some(BY_ZERO), "{report}");
    let failed = report.trail.statements().filter_map(|statement| {
        let code = statement.failed?.map(|code: SqlState| code.as_str().to_owned());
        Some((statement.sql.clone(), code.unwrap_or_default()))
    });
    failed.collect()
}

#[tokio::test]
async fn that_returns_rows() {
    let shop = Shop::open("rows_fail").await;
    // Once it is prepared by this very request, and once it has been.
    for _ in 0..2 {
        let failing = shop.db.transaction("rows", async |tx| {
            balance(&tx, 1).await?;
            by_zero(&tx).await?;
            Ok::<_, AppError>(())
        });
        assert!(matches!(failing.await, Err(AppError::Opaque)));
        assert_eq!(failed(&shop), [(BY_ZERO.to_owned(), "22012".to_owned())]);
    }
}

#[tokio::test]
async fn that_was_sent_among_others() {
    let shop = Shop::open("pipelined_fail").await;
    for _ in 0..5 {
        let failing = shop.db.transaction("pipelined", async |tx| {
            // It is prepared by now, so that all of them are sent at once.
            balance(&tx, 1).await?;
            let (before, failing, behind) =
                tokio::join!(balance(&tx, 2), by_zero(&tx), balance(&tx, 3));
            before.and(failing.map(drop)).and(behind)?;
            Ok::<_, AppError>(())
        });
        assert!(matches!(failing.await, Err(AppError::Opaque)));
        let failed = failed(&shop);
        assert_eq!(failed[0], (BY_ZERO.to_owned(), "22012".to_owned()), "{failed:?}");
        assert!(failed[1..].iter().all(|(_, code)| code == "25P02"), "{failed:?}");
    }
}
