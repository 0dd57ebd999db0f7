//! The drivers whose transactions are futures.

use crate::outbox::post::{diesel_pool, sqlx_pool};

/// The cases, for one driver.
macro_rules! cases {
    ($module:ident, $driver:ident, $pool:ident) => {
        mod $module {
            use super::$pool;
            use crate::outbox::post::*;
            use std::{
                future::{pending, ready},
                time::Duration,
            };
            use tokio::{
                select,
                sync::{Semaphore, mpsc},
            };
            use txsafe_conformance::error::AppError;
            use txsafe_testkit::Postgres;
            use $driver::{Database, Error, Isolation, Message, NewMessage, Tx};

            fn database(post: &Post) -> Database {
                Database::builder($pool(post.url())).build().unwrap()
            }

            /// Writes a message, in a transaction of its own.
            async fn write(db: &Database, message: NewMessage) -> String {
                let written = db
                    .transaction("write", async |mut tx| tx.outbox_message(message.clone()).await);
                written.await.unwrap().into_key()
            }

            /// Runs a worker until so many messages have come; they are marked then.
            async fn deliver(db: &Database, messages: usize) -> Vec<Message> {
                let (send, mut came) = mpsc::unbounded_channel();
                let worker = db.outbox().worker().deliver("receipt", async |message| {
                    send.send(message).unwrap();
                });
                let mut got = Vec::new();
                let stop = async {
                    while got.len() < messages {
                        got.push(came.recv().await.unwrap());
                    }
                };
                worker.build().unwrap().run_until(stop).await.unwrap();
                got
            }

            fn keys(messages: &[Message]) -> Vec<&str> {
                messages.iter().map(Message::key).collect()
            }

            #[tokio::test]
            async fn what_is_committed_is_delivered_once() {
                let post = Post::open("once").await;
                let db = database(&post);
                let sent = db.transaction("order", async |mut tx| {
                    let first = tx.outbox("receipt", r#"{"order": 7}"#).await?;
                    let second = tx.outbox(String::from("receipt"), String::from("é'\\")).await?;
                    Ok::<_, AppError>([first, second])
                });
                let sent = sent.await.unwrap();
                let got = deliver(&db, 2).await;
                assert_eq!(
                    keys(&got),
                    [sent[0].key(), sent[1].key()],
                    "in the order in which they were due"
                );
                assert_eq!((got[0].topic(), got[0].attempt()), ("receipt", 1));
                assert_eq!(got[0].payload(), r#"{"order": 7}"#);
                assert_eq!(got[1].payload(), "é'\\");
                assert!(post.seen("receipt").await.is_empty());
            }

            #[tokio::test]
            async fn what_is_rolled_back_is_never_delivered() {
                let post = Post::open("never").await;
                let db = database(&post);
                let failed = db.transaction("order", async |mut tx| {
                    tx.outbox("receipt", "{}").await?;
                    Err::<(), _>(AppError::Own("no"))
                });
                failed.await.unwrap_err();
                let kept = db.transaction("order", async |mut tx| {
                    let undone = tx.savepoint(async |mut tx: Tx<'_>| {
                        tx.outbox("receipt", "{}").await?;
                        Err::<(), _>(AppError::Own("no"))
                    });
                    undone.await.unwrap_err();
                    tx.savepoint(async |mut tx: Tx<'_>| {
                        Ok::<_, AppError>(tx.outbox("receipt", "kept").await?)
                    })
                    .await
                });
                let kept = kept.await.unwrap();
                let seen = post.seen("receipt").await;
                assert_eq!(seen.iter().map(|seen| &*seen.key).collect::<Vec<_>>(), [kept.key()]);
                assert_eq!(deliver(&db, 1).await[0].payload(), "kept");
            }

            #[tokio::test]
            async fn a_delayed_message_waits() {
                let post = Post::open("delay").await;
                let db = database(&post);
                let hour = Duration::from_secs(3_600);
                let late = write(&db, NewMessage::new("receipt", "late").delay(hour)).await;
                write(&db, NewMessage::new("receipt", "now")).await;
                assert_eq!(deliver(&db, 1).await[0].payload(), "now");
                post.make_all_due().await;
                assert_eq!(keys(&deliver(&db, 1).await), [&late]);
            }

            #[tokio::test]
            async fn a_message_that_cannot_be_meant_is_told() {
                let post = Post::open("meant").await;
                let db = database(&post);
                let refused = db.transaction("order", async |mut tx| tx.outbox("", "{}").await);
                let error = refused.await.unwrap_err().to_string();
                assert!(error.contains("`topic` can't be \"\""), "{error}");
            }

            #[tokio::test]
            async fn a_handler_that_fails_is_tried_again_until_the_message_is_dead() {
                let post = Post::open("dead").await;
                let db = database(&post);
                let key = write(&db, NewMessage::new("receipt", "{}")).await;
                for attempt in 1..=3 {
                    let (send, mut came) = mpsc::unbounded_channel();
                    let worker = db.outbox().worker().max_attempts(3);
                    let worker = worker.deliver("receipt", async |message: Message| {
                        send.send(message.clone()).unwrap();
                        match message.attempt() {
                            2 => panic!("on purpose"),
                            _ => Err("no mail today"),
                        }
                    });
                    let mut got = None;
                    let stop = async { got = came.recv().await };
                    worker.build().unwrap().run_until(stop).await.unwrap();
                    let got = got.unwrap();
                    assert_eq!((got.key(), got.attempt()), (&*key, attempt));
                    let seen = post.seen("receipt").await;
                    let told = if attempt == 2 { "panicked: on purpose" } else { "no mail today" };
                    let (key, error) = (key.clone(), Some(told.into()));
                    let attempts = attempt.cast_signed();
                    assert_eq!(seen, [Seen { key, attempts, is_leased: false, error }]);
                    post.make_all_due().await;
                }
                let dead = db.outbox().dead("receipt", 9).await.unwrap();
                assert_eq!((dead[0].key(), dead[0].error()), (&*key, "no mail today"));
                assert_eq!((dead[0].message().attempt(), dead[0].message().payload()), (3, "{}"));
                write(&db, NewMessage::new("receipt", "living").key("living")).await;
                assert_eq!(keys(&deliver(&db, 1).await), ["living"], "the dead rest");
                assert!(!db.outbox().requeue("receipt", "living").await.unwrap());
                assert!(db.outbox().requeue("receipt", &key).await.unwrap());
                let got = deliver(&db, 1).await;
                assert_eq!((got[0].key(), got[0].attempt()), (&*key, 1));
                assert!(db.outbox().dead("receipt", 9).await.unwrap().is_empty());
            }

            #[tokio::test]
            async fn what_there_is_is_counted() {
                let post = Post::open("backlog").await;
                let db = database(&post);
                post.execute(
                    "INSERT INTO txsafe_outbox (topic, payload, due_at, lease, dead_at) VALUES
                     ('a', '', now() - interval '1 hour', NULL, NULL),
                     ('a', '', now() + interval '1 hour', NULL, NULL),
                     ('a', '', now() + interval '1 hour', gen_random_uuid(), NULL),
                     ('a', '', now(), gen_random_uuid(), NULL),
                     ('a', '', now(), NULL, now()),
                     ('b', '', now(), NULL, now()), ('b', '', now(), NULL, now())",
                )
                .await;
                let backlog = db.outbox().backlog().await.unwrap();
                let numbers = |n: usize| {
                    let of = &backlog[n];
                    (&*of.topic, of.waiting, of.in_delivery, of.dead)
                };
                assert_eq!([numbers(0), numbers(1)], [("a", 3, 1, 1), ("b", 0, 0, 2)]);
                assert!(backlog[0].lag >= Duration::from_secs(3_600));
                assert_eq!(backlog[1].lag, Duration::ZERO);
                assert_eq!(db.outbox().requeue_all("b").await.unwrap(), 2);
                assert!(db.outbox().dead("b", 9).await.unwrap().is_empty());
            }

            #[tokio::test]
            async fn a_worker_that_is_killed_before_the_mark_leaves_its_message_to_the_next() {
                let post = Post::open("killed").await;
                let db = database(&post);
                let key = write(&db, NewMessage::new("receipt", "{}")).await;
                kill_one(&db, 25).await;
                write(&db, NewMessage::new("receipt", "{}").key("other")).await;
                assert_eq!(keys(&deliver(&db, 1).await), ["other"], "the lease holds");
                post.make_all_due().await;
                let again = deliver(&db, 1).await;
                assert_eq!((again[0].key(), again[0].attempt()), (&*key, 2));
            }

            #[tokio::test]
            async fn a_message_that_kills_its_workers_dies() {
                let post = Post::open("poison").await;
                let db = database(&post);
                let key = write(&db, NewMessage::new("receipt", "{}")).await;
                for _ in 0..2 {
                    kill_one(&db, 2).await;
                    post.make_all_due().await;
                }
                let worker = db.outbox().worker().max_attempts(2);
                let worker = worker.deliver("receipt", async |message: Message| {
                    assert!(message.attempt() <= 2, "a third time");
                });
                let buried =
                    async { while db.outbox().dead("receipt", 1).await.unwrap().is_empty() {} };
                worker.build().unwrap().run_until(buried).await.unwrap();
                let dead = db.outbox().dead("receipt", 1).await.unwrap();
                assert_eq!(dead[0].key(), key);
                assert!(dead[0].error().contains("without a word"), "{dead:?}");
            }

            /// A worker gets one message, and is gone in the midst of its delivery.
            async fn kill_one(db: &Database, attempts: u32) {
                let (send, mut came) = mpsc::unbounded_channel();
                let worker = db.outbox().worker().max_attempts(attempts);
                let worker = worker.deliver("receipt", async |message| {
                    send.send(message).unwrap();
                    pending::<()>().await;
                });
                select! {
                    ended = worker.build().unwrap().run_until(pending::<()>()) => ended.unwrap(),
                    _message = came.recv() => {}
                }
            }

            #[tokio::test]
            async fn who_has_lost_the_lease_marks_nothing() {
                for fails in [false, true] {
                    let post = Post::open("fence").await;
                    let db = database(&post);
                    write(&db, NewMessage::new("receipt", "{}").key("slow")).await;
                    let slow = Semaphore::new(0);
                    let (send, mut came) = mpsc::unbounded_channel();
                    let worker = db.outbox().worker().deliver("receipt", async |message| {
                        send.send(message).unwrap();
                        slow.acquire().await.unwrap().forget();
                        if fails { Err("too late") } else { Ok(()) }
                    });
                    let steal = async {
                        while !post.seen("receipt").await[0].is_leased {}
                        post.make_all_due().await;
                        kill_one(&db, 25).await;
                        slow.add_permits(1);
                    };
                    let running = worker.build().unwrap().run_until(came.recv());
                    tokio::join!(running, steal).0.unwrap();
                    let seen = post.seen("receipt").await;
                    let (key, error) = ("slow".into(), None);
                    assert_eq!(seen, [Seen { key, attempts: 2, is_leased: true, error }]);
                }
            }

            #[tokio::test]
            async fn a_stop_lets_deliveries_end() {
                let post = Post::open("stop").await;
                let db = database(&post);
                write(&db, NewMessage::new("receipt", "{}")).await;
                let (came, stopped) = (Semaphore::new(0), Semaphore::new(0));
                let worker = db.outbox().worker().deliver("receipt", async |_| {
                    came.add_permits(1);
                    stopped.acquire().await.unwrap().forget();
                    ready(()).await;
                });
                let stop = async {
                    came.acquire().await.unwrap().forget();
                    write(&db, NewMessage::new("receipt", "{}").key("later")).await;
                    stopped.add_permits(1);
                };
                worker.concurrency(1).build().unwrap().run_until(stop).await.unwrap();
                let left: Vec<_> = post.seen("receipt").await.into_iter().map(|m| m.key).collect();
                assert_eq!(left, ["later"], "the first is delivered, and no other one begun");
            }

            #[tokio::test]
            async fn a_delivery_that_does_not_end_in_time_is_released() {
                let post = Post::open("release").await;
                let db = database(&post);
                let key = write(&db, NewMessage::new("receipt", "{}")).await;
                let came = Semaphore::new(0);
                let worker = db.outbox().worker().grace(Duration::ZERO);
                let worker = worker.deliver("receipt", async |_| {
                    came.add_permits(1);
                    pending::<()>().await;
                });
                worker.build().unwrap().run_until(came.acquire()).await.unwrap();
                let seen = post.seen("receipt").await;
                let released =
                    Seen { key: key.clone(), attempts: 0, is_leased: false, error: None };
                assert_eq!(seen, [released]);
                assert_eq!(keys(&deliver(&db, 1).await), [&key], "at once");
            }

            #[tokio::test]
            async fn a_delivery_that_takes_too_long_is_dropped() {
                let post = Post::open("too_long").await;
                let db = database(&post);
                write(&db, NewMessage::new("receipt", "{}")).await;
                let worker = db.outbox().worker().timeout(Duration::from_millis(10));
                let worker = worker.deliver("receipt", async |_| pending::<()>().await);
                let failed = async { while post.seen("receipt").await[0].error.is_none() {} };
                worker.build().unwrap().run_until(failed).await.unwrap();
                let error = post.seen("receipt").await.remove(0).error.unwrap();
                assert_eq!(error, "it took longer than its timeout of 10ms");
            }

            #[tokio::test]
            async fn topics_of_others_are_left_alone() {
                let post = Post::open("topics").await;
                let db = database(&post);
                write(&db, NewMessage::new("invoice", "{}").key("other")).await;
                write(&db, NewMessage::new("receipt", "{}").key("ours")).await;
                assert_eq!(keys(&deliver(&db, 1).await), ["ours"]);
                let untouched =
                    Seen { key: "other".into(), attempts: 0, is_leased: false, error: None };
                assert_eq!(post.seen("invoice").await, [untouched]);
            }

            #[tokio::test]
            async fn a_commit_in_this_process_wakes_the_worker() {
                let post = Post::open("wakes").await;
                let db = database(&post);
                write(&db, NewMessage::new("receipt", "first")).await;
                let (send, mut came) = mpsc::unbounded_channel();
                let worker = db.outbox().worker().poll_interval(Duration::from_secs(3_600));
                let worker = worker.deliver("receipt", async |message: Message| {
                    send.send(message.into_payload()).unwrap();
                });
                let stop = async {
                    assert_eq!(came.recv().await.unwrap(), "first");
                    // It has claimed one where it wanted eight, and so it sleeps.
                    post.until_empty("receipt").await;
                    write(&db, NewMessage::new("receipt", "second")).await;
                    assert_eq!(came.recv().await.unwrap(), "second");
                };
                worker.build().unwrap().run_until(stop).await.unwrap();
            }

            #[tokio::test]
            async fn presets_of_the_database_do_not_reach_the_worker() {
                let post = Post::open("presets").await;
                write(&database(&post), NewMessage::new("receipt", "{}")).await;
                let db = Database::builder($pool(post.url()));
                let db = db.isolation(Isolation::Serializable).read_only(true).deferrable(true);
                assert_eq!(deliver(&db.build().unwrap(), 1).await.len(), 1);
                assert!(post.seen("receipt").await.is_empty());
            }

            #[tokio::test]
            async fn a_handler_may_use_the_database() {
                let post = Post::open("inside").await;
                let db = database(&post);
                write(&db, NewMessage::new("order", "7")).await;
                let worker = db.outbox().worker().deliver("order", async |message: Message| {
                    let sent = db.transaction("relay", async |mut tx| {
                        tx.outbox("receipt", message.payload()).await?;
                        Ok::<_, Error>(())
                    });
                    sent.await
                });
                worker.build().unwrap().run_until(post.until_empty("order")).await.unwrap();
                assert_eq!(deliver(&db, 1).await[0].payload(), "7");
            }

            #[tokio::test]
            async fn a_missing_table_is_named_with_its_cure() {
                let server = Postgres::shared().await.unwrap();
                let post = Post::without_a_table(server, "missing").await;
                let db = database(&post);
                let written = db.transaction("order", async |mut tx| tx.outbox("t", "{}").await);
                let worker = db.outbox().worker().deliver("t", async |_| {}).build().unwrap();
                for error in [
                    written.await.unwrap_err(),
                    worker.run_until(pending::<()>()).await.unwrap_err(),
                    db.outbox().backlog().await.unwrap_err(),
                ] {
                    let error = error.to_string();
                    assert!(error.contains("put `OUTBOX_SQL` into a migration"), "{error}");
                }
            }

            #[tokio::test]
            async fn settings_that_cannot_be_meant_are_told_at_build() {
                let post = Post::open("settings").await;
                let db = database(&post);
                let worker = || db.outbox().worker().deliver("t", async |_| {});
                for (builder, part) in [
                    (db.outbox().worker(), "`deliver` can't be missing"),
                    (worker().deliver("t", async |_| {}), "`deliver` can't be \"t\""),
                    (worker().deliver("", async |_| {}), "`topic` can't be \"\""),
                    (worker().lease(Duration::ZERO), "`lease` can't be 0ns"),
                    (worker().timeout(Duration::ZERO), "`timeout` can't be 0ns"),
                    (worker().concurrency(0), "`concurrency` can't be 0"),
                    (worker().poll_interval(Duration::ZERO), "`poll_interval` can't be 0ns"),
                    (worker().max_attempts(0), "`max_attempts` can't be 0"),
                    (worker().min_pause(Duration::ZERO), "`min_pause` can't be 0ns"),
                    (worker().max_pause(Duration::ZERO), "`max_pause` can't be 0ns"),
                    (worker().grace(Duration::MAX), "`grace` can't be "),
                ] {
                    let error = builder.build().unwrap_err().to_string();
                    assert!(error.starts_with(part), "{error}");
                }
            }

            #[tokio::test]
            async fn a_worker_runs_on_a_task_of_its_own() {
                let post = Post::open("task").await;
                let db = database(&post);
                write(&db, NewMessage::new("receipt", "{}")).await;
                let (send, mut came) = mpsc::unbounded_channel();
                let worker = db.outbox().worker().deliver("receipt", move |message: Message| {
                    let send = send.clone();
                    async move { send.send(message).map_err(|_| "nobody listens") }
                });
                let worker = worker.build().unwrap();
                let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
                let running = tokio::spawn(worker.run_until(stopped));
                assert_eq!(came.recv().await.unwrap().attempt(), 1);
                drop(stop);
                running.await.unwrap().unwrap();
                assert!(post.seen("receipt").await.is_empty());
            }
        }
    };
}

cases!(diesel_async, txsafe_diesel, diesel_pool);
cases!(sqlx, txsafe_sqlx, sqlx_pool);
