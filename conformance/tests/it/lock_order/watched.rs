//! What a lab sees of locks, through each driver.

use crate::lock_order::town::{diesel_pool, diesel_sql, sqlx_pool, sqlx_sql};
use diesel::{
    PgConnection, RunQueryDsl,
    r2d2::{ConnectionManager, Pool},
    sql_query,
};
use tokio::task::block_in_place;
use txsafe::LockGraph;
use txsafe_testkit::{Lab, LabSession};

const LOCK: &str = "SELECT name FROM organizations WHERE id = 1 FOR UPDATE";
const USER: &str = "UPDATE users SET name = 'x' WHERE id = 1";
/// Whose foreign key locks the organization, which its text doesn't say.
const ORDER: &str = "INSERT INTO orders VALUES (11, 1)";

async fn session(url: &str, graph: &LockGraph) -> LabSession {
    Lab::new(url).unwrap().watch_locks(graph).session().await.unwrap()
}

#[track_caller]
fn assert_order_is_inverted(graph: &LockGraph) {
    let inversions = graph.inversions();
    assert_eq!(inversions.len(), 1, "{inversions:?}");
    assert_eq!(inversions[0].classes(), ("users".into(), "organizations".into()));
    assert_eq!(inversions[0].transactions(), ["order".into(), "rename".into()]);
    let text = inversions[0].to_string();
    assert!(text.contains(&format!("then `organizations` (by `{ORDER}`)")), "{text}");
}

/// The cases, for one driver.
macro_rules! cases {
    ($module:ident, $driver:ident, $pool:ident, $sql:ident) => {
        mod $module {
            use super::{LOCK, ORDER, USER, assert_order_is_inverted, session, $pool, $sql};
            use crate::lock_order::town::*;
            use txsafe_conformance::error::AppError;
            use $driver::{Database, LockGraph, Locked};

            async fn plain(db: &Database, name: &str, statements: &[&str]) {
                let ended = db.transaction(name, async |mut tx| {
                    for sql in statements {
                        $sql(&mut tx, sql).await?;
                    }
                    Ok::<_, AppError>(())
                });
                ended.await.unwrap();
            }

            #[tokio::test]
            async fn a_foreign_key_is_seen() {
                let (town, graph) = (Town::found("watched").await, LockGraph::new());
                let session = session(town.url(), &graph).await;
                let pool = $pool(session.url());
                let db = Database::builder(pool).lock_graph(LockGraph::off()).build().unwrap();
                plain(&db, "rename", &[LOCK, USER]).await;
                graph.assert_no_inversions();
                plain(&db, "order", &[USER, ORDER]).await;
                assert_order_is_inverted(&graph);
            }

            #[tokio::test]
            async fn who_is_inside_and_who_watches_agree() {
                let (town, graph) = (Town::found("agree").await, LockGraph::new());
                let session = session(town.url(), &graph).await;
                let db = Database::builder($pool(session.url())).lock_graph(graph.clone());
                let db = db.lock_order::<TownOrder>().build().unwrap();
                let ended = db.transaction("agree", async |tx| {
                    let mut tx = tx.at::<Organization>();
                    let _: Locked<'_, OrgRow> = tx.lock(1).await?;
                    let mut tx = tx.at::<User>();
                    let users: Vec<Locked<'_, UserRow>> = tx.lock_many(&[3, 1]).await?;
                    assert_eq!(users.len(), 2);
                    let tried: Option<Locked<'_, OrderRow>> = tx.try_lock_earlier(1).await?;
                    assert!(tried.is_some());
                    $sql(&mut tx, USER).await
                });
                ended.await.unwrap();
                graph.assert_no_inversions();
                assert!(graph.observed_order().dot().contains("\"organizations\" -> \"orders\""));
            }
        }
    };
}

cases!(diesel_async, txsafe_diesel, diesel_pool, diesel_sql);
cases!(sqlx, txsafe_sqlx, sqlx_pool, sqlx_sql);

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_is_seen_on_blocking_connections() {
    use txsafe_diesel::{Error, blocking::Database};

    let (town, graph) = (crate::lock_order::town::Town::found("libpq").await, LockGraph::new());
    let session = session(town.url(), &graph).await;
    block_in_place(|| {
        let manager = ConnectionManager::<PgConnection>::new(session.url());
        let db = Database::builder(Pool::builder().max_size(1).build(manager).unwrap());
        let db = db.lock_graph(LockGraph::off()).build().unwrap();
        for (name, statements) in [("rename", [LOCK, USER]), ("order", [USER, ORDER])] {
            db.transaction(name, |mut tx| {
                for sql in statements {
                    sql_query(sql).execute(&mut *tx).unwrap();
                }
                Ok::<_, Error>(())
            })
            .unwrap();
        }
    });
    assert_order_is_inverted(&graph);
}

/// SQLx prepares a statement without a name in one unit and runs it in the next.
#[tokio::test]
async fn a_statement_without_a_name_outlives_the_question() {
    use ::sqlx::Connection;

    let (town, graph) = (crate::lock_order::town::Town::found("unnamed").await, LockGraph::new());
    let session = session(town.url(), &graph).await;
    let mut connection = ::sqlx::PgConnection::connect(session.url()).await.unwrap();
    let mut tx = connection.begin().await.unwrap();
    for id in [1_i64, 2] {
        let update = ::sqlx::query("UPDATE users SET name = 'x' WHERE id = $1").bind(id);
        let updated = update.persistent(false).execute(&mut *tx).await.unwrap();
        assert_eq!(updated.rows_affected(), 1);
    }
    ::sqlx::query(ORDER).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let drawn = graph.observed_order().dot();
    assert!(drawn.contains("\"users\" -> \"organizations\""), "{drawn}");
}
