//! Advisory locks and scoped sequences.

use crate::lock_order::town::{diesel_pool, sqlx_pool};

/// The cases, for one driver.
macro_rules! cases {
    ($module:ident, $driver:ident, $pool:ident) => {
        mod $module {
            use super::$pool;
            use crate::lock_order::town::*;
            use std::{sync::Arc, time::Duration};
            use tokio::task::JoinSet;
            use txsafe_conformance::error::AppError;
            use $driver::{Cause, Database, Locked, TxOptions};

            fn database(town: &Town) -> Database<TownOrder> {
                let pool = $pool(town.url());
                let db = Database::builder(pool).service(town.name());
                db.lock_order::<TownOrder>().build().unwrap()
            }

            #[tokio::test]
            async fn an_advisory_lock_is_the_servers() {
                let town = Town::found("advisory").await;
                let db = database(&town);
                let (held, after) = (
                    db.transaction("advisory", async |tx| {
                        let mut tx = tx.at::<Import>();
                        tx.advisory_lock(town.file()).await?;
                        tx.advisory_lock(town.file()).await?;
                        let mut tx = tx.at::<Tenant>();
                        tx.advisory_lock_many(&[0, 1, 2].map(|n| town.tenant + n)).await?;
                        Ok::<_, AppError>(town.advisory_locks().await)
                    })
                    .await
                    .unwrap(),
                    town.advisory_locks().await,
                );
                let file = advisory_id(42, &format!("convert_to('{}', 'UTF8')", town.file()));
                let mut expected = vec![town.ask(&format!("SELECT {file}")).await];
                for tenant in (town.tenant..).take(3) {
                    expected.push(town.ask(&format!("SELECT {}", tenant_id(tenant))).await);
                }
                expected.sort();
                assert_eq!(held, expected, "as plain SQL computes them");
                assert!(after.is_empty(), "given back with the transaction: {after:?}");
            }

            #[tokio::test]
            async fn an_advisory_lock_waits_for_its_timeout() {
                let town = Town::found("timeout").await;
                let db = database(&town);
                town.hold_tenant().await;
                let options = TxOptions::new().lock_timeout(Duration::from_millis(10));
                let given_up = db.with(options).transaction_once("timeout", async |tx| {
                    tx.at::<Tenant>().advisory_lock(town.tenant).await?;
                    Ok::<_, AppError>(())
                });
                let error = given_up.await.unwrap_err().ours();
                assert_eq!(error.cause(), Some(Cause::LockTimeout));
            }

            #[tokio::test]
            async fn what_cannot_wait_says_so() {
                let town = Town::found("try").await;
                let db = database(&town);
                town.hold_tenant().await;
                let got = db.transaction("try", async |tx| {
                    let mut tx = tx.at::<Number>();
                    let got = (
                        tx.try_advisory_lock::<Tenant>(town.tenant).await?,
                        tx.try_advisory_lock_shared::<Tenant>(town.tenant).await?,
                        tx.try_advisory_lock::<Tenant>(town.tenant + 1).await?,
                    );
                    Ok::<_, AppError>(got)
                });
                assert_eq!(got.await.unwrap(), (false, false, true));
            }

            #[tokio::test]
            async fn a_shared_lock_is_shared_and_not_raised() {
                let town = Town::found("shared").await;
                let db = database(&town);
                let refused = db.transaction("shared", async |tx| {
                    let mut tx = tx.at::<Tenant>();
                    tx.advisory_lock_shared(town.tenant).await?;
                    let sql = format!(
                        "SELECT pg_try_advisory_xact_lock_shared({})::int::bigint",
                        tenant_id(town.tenant)
                    );
                    assert_eq!(town.ask(&sql).await, 1);
                    tx.advisory_lock(town.tenant).await?;
                    Ok(())
                });
                let message = refusal(refused.await);
                assert_names_two_places(&message, file!());
                assert!(message.contains("weaker mode"), "{message}");
            }

            #[tokio::test]
            async fn a_deadlock_of_an_advisory_lock_and_a_row_is_found() {
                let town = Town::found("deadlock").await;
                let db = database(&town);
                // They lock against the order, and look for a deadlock before we do.
                town.other.batch_execute("SET deadlock_timeout = '10ms'").await.unwrap();
                town.hold_tenant().await;
                let db = db.with(TxOptions::new().adaptive_lock_timeout(false));
                let ours = db.transaction("deadlock", async |tx| {
                    let mut tx = tx.at::<User>();
                    let _one: Locked<'_, UserRow> = tx.lock(1).await?;
                    tx.at::<Tenant>().advisory_lock(town.tenant).await?;
                    Ok::<_, AppError>(())
                });
                let theirs = async {
                    town.until_somebody_waits().await;
                    let update = "UPDATE users SET name = 'x' WHERE id = 1";
                    let failed = town.other.batch_execute(update).await;
                    town.other.batch_execute("ROLLBACK").await.unwrap();
                    failed
                };
                let (ours, theirs) = tokio::join!(ours, theirs);
                assert_eq!(theirs.unwrap_err().code().unwrap().code(), "40P01");
                ours.unwrap();
            }

            #[tokio::test]
            async fn a_number_that_was_rolled_back_is_given_out_again() {
                let town = Town::found("number").await;
                let db = database(&town);
                let take = async |scope: &str, fails: bool| {
                    let taken = db.transaction("number", async |tx| {
                        let number = tx.at::<Number>().next_in_sequence(scope.into()).await?;
                        if fails { Err(AppError::Own("rolled back")) } else { Ok(number) }
                    });
                    taken.await
                };
                assert_eq!(take("o'{\"}", false).await.unwrap(), 100);
                assert_eq!(take("o'{\"}", false).await.unwrap(), 101);
                assert!(take("o'{\"}", true).await.is_err());
                assert_eq!(take("o'{\"}", false).await.unwrap(), 102);
                assert_eq!(take("b", false).await.unwrap(), 100);
                let twice = db.transaction("twice", async |tx| {
                    let mut tx = tx.at::<Number>();
                    let undone = tx.savepoint(async |mut tx| {
                        tx.next_in_sequence("b".into()).await?;
                        Err::<(), _>(AppError::Own("undone"))
                    });
                    assert!(undone.await.is_err());
                    let first = tx.next_in_sequence("b".into()).await?;
                    Ok::<_, AppError>((first, tx.next_in_sequence("b".into()).await?))
                });
                assert_eq!(twice.await.unwrap(), (101, 102));
            }

            #[tokio::test]
            async fn a_missing_table_of_sequences_is_named_and_found_in_its_schema() {
                let town = Town::found("table").await;
                let schema = format!("{} Ops", town.name());
                let moves = format!(
                    "CREATE SCHEMA \"{schema}\"; ALTER TABLE txsafe_sequences SET SCHEMA \"{schema}\""
                );
                town.other.batch_execute(&moves).await.unwrap();
                let number = async |db: Database<TownOrder>| {
                    let number = db.transaction("table", async |tx| {
                        Ok::<_, AppError>(tx.at::<Number>().next_in_sequence("a".into()).await?)
                    });
                    number.await
                };
                let message = number(database(&town)).await.unwrap_err().ours().to_string();
                assert!(message.contains("put `SEQUENCES_SQL` into a migration"), "{message}");
                let db = Database::builder($pool(town.url())).own_schema(&*schema);
                assert_eq!(number(db.lock_order::<TownOrder>().build().unwrap()).await.unwrap(), 100);
                let drop = format!("DROP SCHEMA \"{schema}\" CASCADE");
                town.other.batch_execute(&drop).await.unwrap();
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn numbers_of_32_workers_have_no_gap_and_no_duplicate() {
                const WORKERS: u64 = 32;
                const EACH: usize = 12;
                let seed = fastrand::u64(..);
                println!("seed {seed}");
                let town = Arc::new(Town::found("workers").await);
                let db = database(&town);
                let mut workers = JoinSet::new();
                for worker in 0..WORKERS {
                    let db = db.clone();
                    workers.spawn(async move {
                        let mut dice = fastrand::Rng::with_seed(seed.wrapping_add(worker));
                        let mut mine = Vec::new();
                        for _ in 0..EACH {
                            let (scope, fails) = (["a", "b"][dice.usize(..2)], dice.f32() < 0.3);
                            let taken = db.transaction("workers", async |tx| {
                                let mut tx = tx.at::<Number>();
                                let number = tx.next_in_sequence(scope.into()).await?;
                                if fails { Err(AppError::Own("on purpose")) } else { Ok(number) }
                            });
                            match taken.await {
                                Ok(number) => mine.push((scope, number)),
                                Err(AppError::Own(_)) => {}
                                Err(error) => panic!("{error:?}"),
                            }
                        }
                        mine
                    });
                }
                let mut numbers: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
                numbers.sort();
                for scope in ["a", "b"] {
                    let of_scope = numbers.iter().filter(|(of, _)| *of == scope);
                    let of_scope: Vec<_> = of_scope.map(|(_, number)| *number).collect();
                    let expected: Vec<_> = (100..).take(of_scope.len()).collect();
                    assert_eq!(of_scope, expected, "scope {scope}");
                }
            }
        }
    };
}

cases!(diesel_async, txsafe_diesel, diesel_pool);
cases!(sqlx, txsafe_sqlx, sqlx_pool);
