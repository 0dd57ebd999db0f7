//! The drivers whose transactions are futures.

use crate::lock_order::town::{diesel_pool, sqlx_pool};

/// The cases, for one driver.
macro_rules! cases {
    ($module:ident, $driver:ident, $pool:ident) => {
        mod $module {
            use super::$pool;
            use crate::lock_order::town::*;
            use txsafe_conformance::error::AppError;
            use $driver::{Database, ErrorKind, ForUpdate, KeyShare, Locked, Share, Tx, TxOptions};

            fn database(town: &Town) -> Database<TownOrder> {
                let pool = $pool(town.url());
                let db = Database::builder(pool).service(town.name());
                db.lock_order::<TownOrder>().build().unwrap()
            }

            /// A helper at one rank.
            async fn names(
                tx: &mut Tx<'_, TownOrder, User>,
                ids: &[i64],
            ) -> Result<Vec<String>, AppError> {
                let users: Vec<Locked<'_, UserRow>> = tx.lock_many(ids).await?;
                Ok(users.into_iter().map(|user| user.into_row().name).collect())
            }

            /// An order's organization, the names of users, and the transaction.
            type Visited<'c> = (i64, Vec<String>, Tx<'c, TownOrder, User>);

            /// A helper over two ranks, whatever was locked before them.
            async fn order_and_users<'c, H: TownOrderBefore<Order>>(
                tx: Tx<'c, TownOrder, H>,
                order: i64,
                users: &[i64],
            ) -> Result<Visited<'c>, AppError> {
                let mut tx = tx.at::<Order>();
                let order: Locked<'_, OrderRow> = tx.lock(order).await?;
                let organization = order.organization;
                let mut tx = tx.at::<User>();
                let names = names(&mut tx, users).await?;
                Ok((organization, names, tx))
            }

            #[tokio::test]
            async fn by_hand_the_order_holds_from_one_loan_to_the_next() {
                let town = Town::found("by_hand").await;
                let db = database(&town);
                let mut tx = db.begin("by hand").await.unwrap();
                let (organization, names, _) =
                    order_and_users(tx.lend(), 7, &[5, 2]).await.unwrap();
                assert_eq!((organization, names.len()), (1, 2));
                let mut earlier = tx.lend().at::<Order>();
                let refused = earlier.lock::<OrderRow>(8).await.unwrap_err();
                assert!(matches!(refused.kind(), ErrorKind::LockOrder(_)), "{refused}");
                tx.lend().at::<User>().lock::<UserRow>(9).await.unwrap();
                tx.commit().await.unwrap();
            }

            #[tokio::test]
            async fn rows_are_read_in_the_order_of_their_keys() {
                let town = Town::found("read").await;
                let db = database(&town);
                let read = db.transaction("read", async |tx| {
                    let mut tx = tx.at::<Organization>();
                    let org: Locked<'_, OrgRow> = tx.lock(1).await?;
                    let (organization, names, tx) =
                        order_and_users(tx, 7, &[9, 2, 5, 2, 11]).await?;
                    let mut tx = tx.at::<Item>();
                    let skus = ["é", "a,b}", "quo\"te", "Z", "back\\slash", "a"].map(String::from);
                    let items: Vec<Locked<'_, ItemRow>> = tx.lock_many(&skus).await?;
                    let items: Vec<_> = items.iter().map(|item| item.sku.clone()).collect();
                    Ok::<_, AppError>((org.name.clone(), organization, names, items))
                });
                let (org, organization, names, items) = read.await.unwrap();
                assert_eq!((org.as_str(), organization), ("mill", 1));
                assert_eq!(names, ["user 2", "user 5", "user 9"], "each once, and 11 isn't there");
                assert_eq!(items, ["Z", "a", "a,b}", "back\\slash", "quo\"te", "é"]);
            }

            #[tokio::test]
            async fn many_rows_are_locked_one_after_the_other() {
                let town = Town::found("many").await;
                let db = database(&town);
                town.other
                    .batch_execute("BEGIN; UPDATE users SET name = 'x' WHERE id = 5")
                    .await
                    .unwrap();
                let locking = db.with(TxOptions::new().adaptive_lock_timeout(false));
                let locking = locking.transaction("many", async |tx| {
                    let users: Vec<Locked<'_, UserRow>> =
                        tx.at::<User>().lock_many(&[8, 5, 3]).await?;
                    Ok::<_, AppError>(
                        users.iter().map(|user| user.name.clone()).collect::<Vec<_>>(),
                    )
                });
                let writing = async {
                    town.until_somebody_waits().await;
                    let free = town.free_users().await;
                    town.other.batch_execute("COMMIT").await.unwrap();
                    free
                };
                let (names, free) = tokio::join!(locking, writing);
                assert_eq!(free, [1, 2, 4, 6, 7, 8, 9, 10], "3 was locked, and 8 was not");
                assert_eq!(names.unwrap(), ["user 3", "x", "user 8"], "read as it was committed");
            }

            #[tokio::test]
            async fn keys_of_one_rank_ascend() {
                let town = Town::found("keys").await;
                let db = database(&town);
                let refused = db.transaction("keys", async |tx| {
                    let mut tx = tx.at::<User>();
                    let _nine: Locked<'_, UserRow> = tx.lock(9).await?;
                    let _again: Locked<'_, UserRow> = tx.lock(9).await?;
                    let _three: Locked<'_, UserRow> = tx.lock(3).await?;
                    Ok(())
                });
                let message = refusal(refused.await);
                assert_names_two_places(&message, file!());
                assert!(message.contains("`User` 3"), "{message}");
                assert!(message.contains("after `User` 9"), "{message}");
            }

            #[tokio::test]
            async fn a_statement_may_lock_by_itself() {
                let town = Town::found("itself").await;
                let db = database(&town);
                let refused = db.transaction("itself", async |tx| {
                    let mut tx = tx.at::<User>();
                    let _four: Locked<'_, UserRow> = tx.will_lock(3)?.lock(4).await?;
                    tx.will_lock(3)?.will_lock(4)?.will_lock(2)?;
                    Ok(())
                });
                let message = refusal(refused.await);
                assert_names_two_places(&message, file!());
                assert!(message.contains("`User` 2"), "{message}");
            }

            #[tokio::test]
            async fn a_mode_is_not_raised() {
                let town = Town::found("modes").await;
                let db = database(&town);
                let refused = db.transaction("modes", async |tx| {
                    let mut tx = tx.at::<User>();
                    let _shared: Locked<'_, UserRow, Share> = tx.lock_for(9).await?;
                    let _weaker: Locked<'_, UserRow, KeyShare> = tx.lock_for(9).await?;
                    let _written: Locked<'_, UserRow> = tx.lock(9).await?;
                    Ok(())
                });
                let message = refusal(refused.await);
                assert_names_two_places(&message, file!());
                assert!(message.contains("weaker mode"), "{message}");
            }

            #[tokio::test]
            async fn a_row_that_is_not_there_is_named() {
                let town = Town::found("missing").await;
                let db = database(&town);
                let missing = db.transaction("missing", async |tx| {
                    let _item: Locked<'_, ItemRow> = tx.at::<Item>().lock("x".into()).await?;
                    Ok::<_, AppError>(())
                });
                let error = missing.await.unwrap_err().ours();
                assert!(error.is_row_not_found());
                assert_eq!(error.to_string(), "there is no row of `Item` with key \"x\"");
            }

            #[tokio::test]
            async fn what_cannot_wait_may_go_back() {
                let town = Town::found("back").await;
                town.other
                    .batch_execute("BEGIN; UPDATE users SET name = 'x' WHERE id = 5")
                    .await
                    .unwrap();
                let db = database(&town);
                let got = db.transaction("back", async |tx| {
                    let mut tx = tx.at::<Item>();
                    let _item: Locked<'_, ItemRow> = tx.lock("a".into()).await?;
                    let held: Option<Locked<'_, UserRow>> = tx.try_lock_earlier(5).await?;
                    let free: Option<Locked<'_, UserRow>> = tx.try_lock_earlier(6).await?;
                    Ok::<_, AppError>((held.is_some(), free.is_some()))
                });
                assert_eq!(got.await.unwrap(), (false, true));
            }

            #[tokio::test]
            async fn a_savepoint_gives_its_locks_back() {
                let town = Town::found("savepoint").await;
                let db = database(&town);
                let free = db.transaction("savepoint", async |tx| {
                    let mut tx = tx.at::<User>();
                    let _two: Locked<'_, UserRow> = tx.lock(2).await?;
                    let undone = tx.savepoint(async |mut tx| {
                        let _nine: Locked<'_, UserRow> = tx.lock(9).await?;
                        Err::<(), _>(AppError::Own("undone"))
                    });
                    assert!(undone.await.is_err());
                    let _three: Locked<'_, UserRow> = tx.lock(3).await?;
                    Ok::<_, AppError>(town.free_users().await)
                });
                assert_eq!(free.await.unwrap(), [1, 4, 5, 6, 7, 8, 9, 10]);
            }

            #[tokio::test]
            async fn what_a_savepoint_locked_and_kept_is_not_forgotten() {
                let town = Town::found("kept").await;
                let db = database(&town);
                let refused = db.transaction("kept", async |tx| {
                    let mut tx = tx.at::<Order>();
                    tx.savepoint(async |tx| {
                        let _user: Locked<'_, UserRow> = tx.at::<User>().lock(1).await?;
                        Ok::<_, AppError>(())
                    })
                    .await?;
                    let _order: Locked<'_, OrderRow> = tx.lock(1).await?;
                    Ok(())
                });
                let message = refusal(refused.await);
                assert_names_two_places(&message, file!());
                assert!(message.contains("Organization => Order => User => Item"), "{message}");
            }

            #[tokio::test]
            async fn foreign_keys_wait_for_no_lock_but_the_strongest() {
                let town = Town::found("foreign").await;
                let db = database(&town);
                town.other.batch_execute("SET lock_timeout = '10ms'").await.unwrap();
                let insert = "INSERT INTO orders VALUES (99, 2)";
                let inserted = db.transaction("weak", async |tx| {
                    let _org: Locked<'_, OrgRow> = tx.at::<Organization>().lock(2).await?;
                    Ok::<_, AppError>(town.other.batch_execute(insert).await)
                });
                inserted.await.unwrap().unwrap();
                let waited = db.transaction("strong", async |tx| {
                    let mut tx = tx.at::<Organization>();
                    let _org: Locked<'_, OrgRow, ForUpdate> = tx.lock_for(2).await?;
                    let insert = insert.replace("99", "100");
                    Ok::<_, AppError>(town.other.batch_execute(&insert).await)
                });
                let waited = waited.await.unwrap().unwrap_err();
                assert_eq!(waited.code().unwrap().code(), "55P03");
            }
        }
    };
}

cases!(diesel_async, txsafe_diesel, diesel_pool);
cases!(sqlx, txsafe_sqlx, sqlx_pool);
