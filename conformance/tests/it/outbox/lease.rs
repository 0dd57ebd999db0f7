//! Deliveries that outlive their lease, by the real clock: it is renewed while their worker lives, and only then.

use crate::outbox::post::{Post, blocking_pool, diesel_pool, sqlx_pool};
use std::{sync::mpsc, thread, time::Duration};
use tokio::{runtime::Handle, sync::Semaphore, task::block_in_place};

/// Longer than a busy machine keeps a worker from renewing it in time.
const LEASE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_secs(3_600);

/// Tells that a delivery was dropped, or has ended.
struct Dropped<'a>(&'a Semaphore);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// Waits for so many.
async fn take(semaphore: &Semaphore, permits: u32) {
    semaphore.acquire_many(permits).await.unwrap().forget();
}

/// The cases, for one driver.
macro_rules! cases {
    ($module:ident, $driver:ident, $pool:ident) => {
        mod $module {
            use super::*;
            use std::future::pending;
            use tokio::select;
            use txsafe_testkit::Postgres;
            use $driver::{Database, OutboxWorker};

            fn database(post: &Post) -> Database {
                Database::builder($pool(post.url())).build().unwrap()
            }

            async fn write(db: &Database) -> String {
                let written =
                    db.transaction("write", async |mut tx| tx.outbox("receipt", "{}").await);
                written.await.unwrap().into_key()
            }

            /// Its deliveries give a permit to `begun`, take one from `gate`, and give one to `over`.
            fn worker<'a>(
                db: &Database,
                begun: &'a Semaphore,
                gate: &'a Semaphore,
                over: &'a Semaphore,
            ) -> OutboxWorker<'a> {
                let worker = db.outbox().worker().lease(LEASE).timeout(HOUR).poll_interval(POLL);
                let worker = worker.deliver("receipt", async |_| {
                    let _over = Dropped(over);
                    begun.add_permits(1);
                    take(gate, 1).await;
                });
                worker.build().unwrap()
            }

            #[tokio::test]
            async fn it_is_nobody_elses_for_as_long_as_it_takes() {
                let post = Post::open("outlives").await;
                let dbs = [database(&post), database(&post)];
                write(&dbs[0]).await;
                let [begun, gate, over, stop] = [(); 4].map(|()| Semaphore::new(0));
                let [one, two] = [&dbs[0], &dbs[1]].map(|db| worker(db, &begun, &gate, &over));
                let outlast = async {
                    take(&begun, 1).await;
                    post.until_leases_would_have_ended(LEASE).await;
                    assert_eq!(begun.available_permits(), 0, "two deliver it at the same time");
                    gate.add_permits(2);
                    post.until_empty("receipt").await;
                    stop.add_permits(2);
                };
                let (stop_one, stop_two) = (take(&stop, 1), take(&stop, 1));
                let ended =
                    tokio::join!(one.run_until(stop_one), two.run_until(stop_two), outlast);
                ended.0.and(ended.1).unwrap();
                assert_eq!(begun.available_permits(), 0, "it was delivered twice");
            }

            #[tokio::test]
            async fn it_is_the_next_ones_once_its_worker_is_dead() {
                let post = Post::open("dies").await;
                let dbs = [database(&post), database(&post)];
                let key = write(&dbs[0]).await;
                let [begun, gate, over] = [(); 3].map(|()| Semaphore::new(0));
                let slow = worker(&dbs[0], &begun, &gate, &over);
                let outlast = async {
                    take(&begun, 1).await;
                    post.until_leases_would_have_ended(LEASE).await;
                };
                select! {
                    ended = slow.run_until(pending::<()>()) => ended.unwrap(),
                    () = outlast => {}
                }
                let seen = post.seen("receipt").await.remove(0);
                assert_eq!((&*seen.key, seen.attempts, seen.is_leased), (&*key, 1, true));
                // Nobody turns the clock.
                gate.add_permits(1);
                let next = worker(&dbs[1], &begun, &gate, &over);
                next.run_until(post.until_empty("receipt")).await.unwrap();
            }

            #[tokio::test]
            async fn it_is_not_begun_if_the_claim_took_that_long() {
                let post = Post::open("late").await;
                let db = Database::builder($pool(post.url()));
                // It waits for the lock until it gets it.
                let db = db.lock_timeout(HOUR).statement_timeout(HOUR).adaptive_lock_timeout(false);
                let db = db.build().unwrap();
                write(&db).await;
                let [begun, gate, over] = [(); 3].map(|()| Semaphore::new(0));
                let worker = worker(&db, &begun, &gate, &over);
                let stop = async {
                    post.until_somebody_waits().await;
                    post.until_leases_would_have_ended(2 * LEASE).await;
                    post.execute("COMMIT").await;
                    take(&begun, 1).await;
                    // It would be broken off at once.
                    post.until_leases_would_have_ended(Duration::ZERO).await;
                    gate.add_permits(1);
                    post.until_empty("receipt").await;
                };
                post.execute("BEGIN; LOCK TABLE txsafe_outbox IN EXCLUSIVE MODE").await;
                worker.run_until(stop).await.unwrap();
                assert_eq!(over.available_permits(), 1, "it was delivered once");
            }

            #[tokio::test]
            async fn it_is_broken_off_once_somebody_else_has_it() {
                let post = Post::open("taken").await;
                let db = database(&post);
                write(&db).await;
                let [begun, gate, over] = [(); 3].map(|()| Semaphore::new(0));
                let taken = async {
                    take(&begun, 1).await;
                    post.execute(
                        "UPDATE txsafe_outbox SET attempts = 7, lease = gen_random_uuid(), due_at = now() + interval '1 h'",
                    )
                    .await;
                    take(&over, 1).await;
                };
                worker(&db, &begun, &gate, &over).run_until(taken).await.unwrap();
                let seen = post.seen("receipt").await.remove(0);
                assert_eq!((seen.attempts, seen.is_leased, seen.error), (7, true, None));
            }

            #[tokio::test]
            async fn it_is_broken_off_if_the_server_cannot_be_asked() {
                let server = Postgres::start().await.unwrap();
                let mut post = Post::on(&server, "away").await;
                let db = database(&post);
                write(&db).await;
                let [begun, gate, over] = [(); 3].map(|()| Semaphore::new(0));
                let away = async {
                    take(&begun, 1).await;
                    server.stop_immediately().await.unwrap();
                    // Whoever else can reach it may have it now.
                    take(&over, 1).await;
                };
                select! {
                    ended = worker(&db, &begun, &gate, &over).run_until(pending::<()>()) => ended.unwrap(),
                    () = away => {}
                }
                server.restart().await.unwrap();
                post.watch_again().await;
                gate.add_permits(1);
                let next = worker(&db, &begun, &gate, &over);
                next.run_until(post.until_empty("receipt")).await.unwrap();
            }
        }
    };
}

cases!(diesel_async, txsafe_diesel, diesel_pool);
cases!(sqlx, txsafe_sqlx, sqlx_pool);

#[tokio::test(flavor = "multi_thread")]
async fn on_threads_it_is_nobody_elses_for_as_long_as_it_takes() {
    use txsafe_diesel::blocking::Database;

    let post = Post::open("outlives").await;
    block_in_place(|| {
        let dbs = [(); 2].map(|()| Database::builder(blocking_pool(post.url())).build().unwrap());
        dbs[0].transaction("write", |mut tx| tx.outbox("receipt", "{}")).unwrap();
        let (begun, begins) = mpsc::channel();
        let workers = dbs.each_ref().map(|db| {
            let worker = db.outbox().worker().lease(LEASE).poll_interval(POLL);
            let worker = worker.deliver("receipt", |_| {
                let (go, gone) = mpsc::channel();
                begun.send(go).unwrap();
                gone.recv().unwrap();
            });
            worker.build().unwrap()
        });
        let stoppers = workers.each_ref().map(|worker| worker.stopper());
        let runtime = Handle::current();
        thread::scope(|scope| {
            let running = workers.map(|worker| scope.spawn(|| worker.run()));
            let go: mpsc::Sender<()> = begins.recv().unwrap();
            runtime.block_on(post.until_leases_would_have_ended(LEASE));
            let twice = begins.try_recv();
            go.send(()).unwrap();
            stoppers.iter().for_each(|stopper| stopper.stop());
            // A second delivery has its way out.
            if let Ok(go) = &twice {
                go.send(()).unwrap();
            }
            running.into_iter().for_each(|worker| worker.join().unwrap().unwrap());
            assert!(twice.is_err(), "two deliver it at the same time");
        });
        assert!(runtime.block_on(post.seen("receipt")).is_empty());
    });
}
