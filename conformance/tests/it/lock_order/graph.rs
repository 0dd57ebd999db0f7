//! The order in which transactions really lock: what the graph says of it, although nothing deadlocks.

use crate::lock_order::town::{
    diesel_pool, diesel_rename, diesel_sql, schema::users, sqlx_pool, sqlx_rename, sqlx_sql,
};
use diesel::{
    ExpressionMethods, PgConnection, QueryDsl, RunQueryDsl,
    r2d2::{ConnectionManager, Pool},
    sql_query,
};
use tokio::task::block_in_place;

const USER: &str = "UPDATE users SET name = 'x' WHERE id = 1";
const ORDER: &str = "UPDATE orders SET organization = 2 WHERE id = 1";

/// The cases, for one driver.
macro_rules! cases {
    ($module:ident, $driver:ident, $pool:ident, $sql:ident, $rename:ident) => {
        mod $module {
            use super::{ORDER, USER, $pool, $rename, $sql};
            use crate::lock_order::town::*;
            use txsafe_conformance::error::AppError;
            use $driver::{Database, LockGraph, Locked, guard};

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
            async fn transactions_that_never_met_are_compared() {
                let graph = LockGraph::new();
                for (name, statements) in [("ship", [ORDER, USER]), ("move", [USER, ORDER])] {
                    // Another server could be meant, another day: they share nothing but the graph.
                    let town = Town::found(name).await;
                    let db = Database::builder($pool(town.url())).lock_graph(graph.clone());
                    let db = db.build().unwrap();
                    plain(&db, name, &statements).await;
                    plain(&db, name, &statements).await;
                }
                let inversions = graph.inversions();
                assert_eq!(inversions.len(), 1, "{inversions:?}");
                assert_eq!(inversions[0].classes(), ("users".into(), "orders".into()));
                assert_eq!(inversions[0].transactions(), ["move".into(), "ship".into()]);
                let text = inversions[0].to_string();
                assert_eq!(text.matches(file!()).count(), 2, "{text}");
                assert!(
                    text.contains(&format!("(by `{ORDER}`), then `users` (by `{USER}`)")),
                    "{text}"
                );
            }

            #[tokio::test]
            async fn an_inversion_fails_a_test() {
                let town = Town::found("fails").await;
                let db = Database::builder($pool(town.url())).lock_graph(LockGraph::new());
                let db = db.guard(guard::Policy::test()).build().unwrap();
                plain(&db, "ship", &[ORDER, USER]).await;
                let moved = tokio::spawn(async move { plain(&db, "move", &[USER, ORDER]).await });
                let panic = moved.await.unwrap_err().into_panic();
                let text = panic.downcast_ref::<String>().unwrap();
                assert!(text.starts_with("TXS009 lock inversion: "), "{text}");
                assert!(text.contains("`orders` was wanted while `users` was held"), "{text}");
            }

            #[tokio::test]
            async fn what_types_cannot_see_is_compared_with_what_they_say() {
                let town = Town::found("types").await;
                let graph = LockGraph::new();
                let db = Database::builder($pool(town.url())).lock_graph(graph.clone());
                let db = db.lock_order::<TownOrder>().build().unwrap();
                let ended = db.transaction("types", async |tx| {
                    let mut tx = tx.at::<User>();
                    let _user: Locked<'_, UserRow> = tx.lock(1).await?;
                    $sql(&mut tx, USER).await?;
                    $sql(&mut tx, ORDER).await?;
                    Ok::<_, AppError>(())
                });
                ended.await.unwrap();
                let inversions = graph.inversions();
                assert_eq!(inversions.len(), 1, "{inversions:?}");
                let text = inversions[0].to_string();
                assert!(
                    text.contains("declared: lock order `TownOrder`: `orders` before `users`"),
                    "{text}"
                );
                assert!(graph.observed_order().mermaid().contains("== inversion ==>"));
            }

            #[tokio::test]
            async fn keys_are_compared_that_are_parameters() {
                let town = Town::found("keys").await;
                let graph = LockGraph::new();
                let db = Database::builder($pool(town.url())).lock_graph(graph.clone());
                let db = db.build().unwrap();
                let rename = async |first: i64, second: i64| {
                    let ended = db.transaction("rename", async |mut tx| {
                        $rename(&mut tx, first).await?;
                        $rename(&mut tx, second).await
                    });
                    ended.await.unwrap();
                };
                rename(2, 10).await;
                rename(7, 7).await;
                graph.assert_no_inversions();
                rename(10, 9).await;
                let inversions = graph.inversions();
                assert_eq!(inversions.len(), 1, "{inversions:?}");
                assert_eq!(inversions[0].classes(), ("users".into(), "users".into()));
            }

            #[tokio::test]
            async fn what_a_savepoint_gave_back_is_not_held() {
                let town = Town::found("given").await;
                let graph = LockGraph::new();
                let db = Database::builder($pool(town.url())).lock_graph(graph.clone());
                let db = db.build().unwrap();
                plain(&db, "ship", &[ORDER, USER]).await;
                let ended = db.transaction("given", async |mut tx| {
                    let undone = tx.savepoint(async |mut tx| {
                        $sql(&mut tx, USER).await?;
                        Err::<(), _>(AppError::Own("undone"))
                    });
                    assert!(undone.await.is_err());
                    $sql(&mut tx, ORDER).await
                });
                ended.await.unwrap();
                graph.assert_no_inversions();
            }

            #[tokio::test]
            async fn the_graph_is_the_processs_unless_it_is_off() {
                let town = Town::found("global").await;
                // Names that no other test locks.
                let tables = "CREATE TABLE global_a (id int); CREATE TABLE global_b (id int)";
                town.other.batch_execute(tables).await.unwrap();
                let (a, b) = ("DELETE FROM global_a", "DELETE FROM global_b");
                let off = Database::builder($pool(town.url())).lock_graph(LockGraph::off());
                plain(&off.build().unwrap(), "off", &[b, a]).await;
                let db = Database::builder($pool(town.url())).build().unwrap();
                plain(&db, "on", &[a, b]).await;
                let drawn = LockGraph::global().observed_order().dot();
                assert!(drawn.contains("\"global_a\" -> \"global_b\" [style=dashed];"), "{drawn}");
                assert!(!drawn.contains("\"global_b\" -> \"global_a\""), "{drawn}");
            }
        }
    };
}

cases!(diesel_async, txsafe_diesel, diesel_pool, diesel_sql, diesel_rename);
cases!(sqlx, txsafe_sqlx, sqlx_pool, sqlx_sql, sqlx_rename);

#[tokio::test(flavor = "multi_thread")]
async fn blocking_transactions_are_compared_too() {
    use txsafe_diesel::{Error, LockGraph, blocking::Database};

    let town = crate::lock_order::town::Town::found("blocking").await;
    let graph = LockGraph::new();
    block_in_place(|| {
        let manager = ConnectionManager::<PgConnection>::new(town.url());
        let db = Database::builder(Pool::builder().max_size(1).build(manager).unwrap());
        let db = db.lock_graph(graph.clone()).build().unwrap();
        for (name, statements) in [("ship", [ORDER, USER]), ("move", [USER, ORDER])] {
            db.transaction(name, |mut tx| {
                for sql in statements {
                    sql_query(sql).execute(&mut *tx).unwrap();
                }
                Ok::<_, Error>(())
            })
            .unwrap();
        }
    });
    let inversions = graph.inversions();
    assert_eq!(inversions.len(), 1, "{inversions:?}");
    assert_eq!(inversions[0].transactions(), ["move".into(), "ship".into()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_compared_that_are_parameters() {
    use txsafe_diesel::{Error, LockGraph, blocking::Database};

    let town = crate::lock_order::town::Town::found("keys").await;
    let graph = LockGraph::new();
    block_in_place(|| {
        let manager = ConnectionManager::<PgConnection>::new(town.url());
        let db = Database::builder(Pool::builder().max_size(1).build(manager).unwrap());
        let db = db.lock_graph(graph.clone()).build().unwrap();
        let rename = |first: i64, second: i64| {
            let ended = db.transaction("rename", |mut tx| {
                for id in [first, second] {
                    let user = diesel::update(users::table.find(id));
                    user.set(users::name.eq("new")).execute(&mut *tx).unwrap();
                }
                Ok::<_, Error>(())
            });
            ended.unwrap();
        };
        rename(2, 10);
        rename(7, 7);
        graph.assert_no_inversions();
        rename(10, 9);
    });
    let inversions = graph.inversions();
    assert_eq!(inversions.len(), 1, "{inversions:?}");
    assert_eq!(inversions[0].classes(), ("users".into(), "users".into()));
}
