//! Sets of locks, which are taken in their order however they are written down.

use crate::lock_order::town::{diesel_pool, sqlx_pool};
use std::panic::Location;

/// Where an application sets a library up. Lines of the macro below are one place.
fn place() -> &'static Location<'static> {
    Location::caller()
}

/// The cases, for one driver.
macro_rules! cases {
    ($module:ident, $driver:ident, $pool:ident) => {
        mod $module {
            use super::{place, $pool};
            use crate::lock_order::town::*;
            use std::{
                sync::atomic::{AtomicU32, Ordering::Relaxed},
                time::Duration,
            };
            use txsafe::ErrorKind;
            use txsafe_conformance::error::AppError;
            use $driver::{
                Database, ForUpdate, Holding, Locked, Share, TxOptions, advisory, row, rows,
            };

            fn database(town: &Town) -> Database<TownOrder> {
                let pool = $pool(town.url());
                let db = Database::builder(pool).service(town.name());
                db.lock_order::<TownOrder>().build().unwrap()
            }

            #[tokio::test]
            async fn a_set_is_locked_by_rank_and_key() {
                let town = Town::found("set").await;
                let db = database(&town);
                town.other
                    .batch_execute("BEGIN; UPDATE users SET name = 'x' WHERE id = 5")
                    .await
                    .unwrap();
                let db = db.with(TxOptions::new().adaptive_lock_timeout(false));
                let locking = db.transaction("set", async |tx| {
                    let set = (
                        advisory::<Import>(town.file()),
                        rows::<UserRow>([8, 5, 3, 11]),
                        row::<OrderRow>(7),
                        row::<OrgRow>(1).in_mode::<Share>(),
                    );
                    let (((), users, order, org), tx) = tx.lock_all(set).await?;
                    let names: Vec<_> = users.iter().map(|user| user.name.clone()).collect();
                    tx.at::<Tenant>().advisory_lock(town.tenant).await?;
                    Ok::<_, AppError>((names, order.id, org.name.clone()))
                });
                let writing = async {
                    town.until_somebody_waits().await;
                    let seen = (
                        town.free_users().await,
                        town.is_free("orders WHERE id = 7").await,
                        town.advisory_locks().await,
                    );
                    town.other.batch_execute("COMMIT").await.unwrap();
                    seen
                };
                let (read, (users, order, advisory)) = tokio::join!(locking, writing);
                assert_eq!(users, [1, 2, 4, 6, 7, 8, 9, 10], "3 was locked, and 8 was not");
                assert!(!order, "orders come before users");
                assert!(advisory.is_empty(), "and advisory locks behind them: {advisory:?}");
                let names = ["user 3", "x", "user 8"].map(String::from).to_vec();
                assert_eq!(read.unwrap(), (names, 7, "mill".into()));
            }

            #[tokio::test]
            async fn rows_come_back_as_they_were_written() {
                let town = Town::found("array").await;
                let db = database(&town);
                let moved = |from, to| {
                    let set = [row::<UserRow>(from), row(to)];
                    db.transaction_locking("array", set, async |holding| {
                        let Holding { tx, rows: [from, to], .. } = holding;
                        drop(tx);
                        Ok::<_, AppError>((from.id, to.id))
                    })
                };
                assert_eq!(moved(9, 2).await.unwrap(), (9, 2));
                assert_eq!(moved(2, 9).await.unwrap(), (2, 9));
                assert_eq!(moved(4, 4).await.unwrap(), (4, 4));
                let error = moved(99, 2).await.unwrap_err().ours();
                assert_eq!(error.to_string(), "there is no row of `User` with key 99");
            }

            #[tokio::test]
            async fn entangled_elements_are_locked_key_by_key() {
                let town = Town::found("entangled").await;
                let db = database(&town);
                let set = (
                    rows::<UserRow>([9, 1]),
                    (row::<UserRow>(5), row::<UserRow>(9).in_mode::<ForUpdate>()),
                    advisory::<Import>(town.file()),
                );
                let held = db.transaction_locking("entangled", set, async |holding| {
                    let (many, (five, nine), ()) = &holding.rows;
                    assert_eq!((many.len(), five.id, nine.id), (2, 5, 9));
                    Ok::<_, AppError>(town.free_users().await)
                });
                assert_eq!(held.await.unwrap(), [2, 3, 4, 6, 7, 8, 10]);
            }

            #[tokio::test]
            async fn a_library_locks_at_the_place_of_its_caller() {
                let town = Town::found("library").await;
                let db = database(&town);
                let db = db.with(TxOptions::new()).called_at(place());
                let locking =
                    db.transaction_locking("library", row::<UserRow>(5), async |holding| {
                        let mut tx = holding.tx;
                        let _four: Locked<'_, UserRow> = tx.lock(4).await?;
                        Ok::<_, AppError>(())
                    });
                let refused = locking.await.unwrap_err().ours();
                let ErrorKind::LockOrder(refusal) = refused.kind() else { panic!("{refused}") };
                assert_eq!(refusal.held_at(), place());
                assert_ne!(refusal.wanted_at(), place());
            }

            #[tokio::test]
            async fn a_set_is_locked_again_by_each_attempt() {
                let town = Town::found("again").await;
                let options = TxOptions::new().adaptive_lock_timeout(false);
                let db = database(&town);
                let db = db.with(options.lock_timeout(Duration::from_millis(20)));
                town.other
                    .batch_execute("BEGIN; UPDATE users SET name = 'x' WHERE id = 9")
                    .await
                    .unwrap();
                let attempts = AtomicU32::new(0);
                let set = row::<UserRow>(5);
                let ended = db.transaction_locking("again", set, async |holding| {
                    let Holding { mut tx, rows: five, .. } = holding;
                    if attempts.fetch_add(1, Relaxed) == 2 {
                        town.other.batch_execute("COMMIT").await.unwrap();
                    }
                    let nine: Locked<'_, UserRow> = tx.lock(9).await?;
                    Ok::<_, AppError>((five.id, nine.name.clone()))
                });
                assert_eq!(ended.await.unwrap(), (5, "x".into()));
                assert_eq!(attempts.into_inner(), 3);
            }
        }
    };
}

cases!(diesel_async, txsafe_diesel, diesel_pool);
cases!(sqlx, txsafe_sqlx, sqlx_pool);
