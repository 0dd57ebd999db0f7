//! Two workers on a thousand messages, undisturbed, and killed again and again.

use crate::outbox::post::{Post, blocking_pool, diesel_pool, sqlx_pool};
use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
    thread,
};
use tokio::task::block_in_place;
use txsafe_diesel::Message;

const MESSAGES: usize = 1_000;

/// What has come, and what is on its way.
#[derive(Default)]
struct Came {
    times: Mutex<HashMap<String, usize>>,
    under_way: Mutex<HashSet<String>>,
}

impl Came {
    /// A delivery begins. While its lease holds, no other one of this message does.
    fn begin(&self, message: &Message) {
        assert!(self.under_way.lock().unwrap().insert(message.key().into()), "by two at once");
    }

    fn end(&self, message: &Message) {
        self.under_way.lock().unwrap().remove(message.key());
        *self.times.lock().unwrap().entry(message.key().into()).or_default() += 1;
    }

    /// All workers are dead.
    fn all_are_dead(&self) {
        self.under_way.lock().unwrap().clear();
    }

    fn count(&self) -> usize {
        self.times.lock().unwrap().len()
    }

    /// How many deliveries there were, repetitions included.
    fn deliveries(&self) -> usize {
        self.times.lock().unwrap().values().sum()
    }

    /// Those that came, with how often; each of those that were written is among them, and nothing else.
    fn audit(&self, written: &[String]) -> Vec<usize> {
        let times = self.times.lock().unwrap();
        assert_eq!(times.len(), written.len());
        written.iter().map(|key| times[key]).collect()
    }
}

/// The cases, for one driver.
macro_rules! cases {
    ($module:ident, $driver:ident, $pool:ident) => {
        mod $module {
            use super::*;
            use tokio::{select, task::yield_now};
            use $driver::{Database, Error, OutboxWorker};

            fn database(post: &Post) -> Database {
                Database::builder($pool(post.url())).build().unwrap()
            }

            async fn write_all(db: &Database) -> Vec<String> {
                let written = db.transaction("write", async |mut tx| {
                    let mut keys = Vec::new();
                    for n in 0..MESSAGES {
                        keys.push(tx.outbox("receipt", n.to_string()).await?.into_key());
                    }
                    Ok::<_, Error>(keys)
                });
                written.await.unwrap()
            }

            fn worker<'a>(db: &Database, came: &'a Came) -> OutboxWorker<'a> {
                let worker = db.outbox().worker().deliver("receipt", async |message: Message| {
                    came.begin(&message);
                    yield_now().await;
                    came.end(&message);
                });
                worker.build().unwrap()
            }

            async fn until_all_came(came: &Came, all: usize) {
                while came.count() < all {
                    yield_now().await;
                }
            }

            #[tokio::test]
            async fn two_workers_deliver_each_message_once() {
                let post = Post::open("two").await;
                let dbs = [database(&post), database(&post)];
                let written = write_all(&dbs[0]).await;
                let came = Came::default();
                let [one, two] = [&dbs[0], &dbs[1]].map(|db| worker(db, &came));
                let (one, two) = tokio::join!(
                    one.run_until(until_all_came(&came, MESSAGES)),
                    two.run_until(until_all_came(&came, MESSAGES)),
                );
                one.and(two).unwrap();
                assert!(came.audit(&written).iter().all(|times| *times == 1));
                assert!(post.seen("receipt").await.is_empty());
            }

            #[tokio::test]
            async fn workers_that_are_killed_lose_nothing() {
                // The dice are the same again with the same seed; who is quicker isn't.
                let seed = fastrand::u64(..);
                println!("seed {seed}");
                let mut dice = fastrand::Rng::with_seed(seed);
                let post = Post::open("killed").await;
                let dbs = [database(&post), database(&post)];
                let written = write_all(&dbs[0]).await;
                let came = Came::default();
                while !post.seen("receipt").await.is_empty() {
                    let [one, two] = [&dbs[0], &dbs[1]].map(|db| worker(db, &came));
                    // Wherever they are by then: the next poll may find them anywhere.
                    let (more, polls) = (dice.usize(1..200), dice.u8(..50));
                    let some_came = async {
                        let enough = came.deliveries() + more;
                        while came.deliveries() < enough {
                            yield_now().await;
                        }
                        for _ in 0..polls {
                            yield_now().await;
                        }
                    };
                    select! {
                        ended = one.run_until(std::future::pending::<()>()) => ended.unwrap(),
                        ended = two.run_until(std::future::pending::<()>()) => ended.unwrap(),
                        () = some_came => {}
                        () = post.until_empty("receipt") => {}
                    }
                    came.all_are_dead();
                    post.make_all_due().await;
                }
                came.audit(&written);
            }
        }
    };
}

cases!(diesel_async, txsafe_diesel, diesel_pool);
cases!(sqlx, txsafe_sqlx, sqlx_pool);

#[tokio::test(flavor = "multi_thread")]
async fn two_blocking_workers_deliver_each_message_once() {
    use txsafe_diesel::{Error, blocking::Database};

    let post = Post::open("two").await;
    let came = Came::default();
    let written = block_in_place(|| {
        let dbs = [(); 2].map(|()| Database::builder(blocking_pool(post.url())).build().unwrap());
        let written = dbs[0].transaction("write", |mut tx| {
            let mut write = |n: usize| Ok(tx.outbox("receipt", n.to_string())?.into_key());
            (0..MESSAGES).map(&mut write).collect::<Result<Vec<_>, Error>>()
        });
        let workers = dbs.each_ref().map(|db| {
            let worker = db.outbox().worker().deliver("receipt", |message: Message| {
                came.begin(&message);
                came.end(&message);
            });
            worker.build().unwrap()
        });
        let stoppers = workers.each_ref().map(|worker| worker.stopper());
        thread::scope(|scope| {
            let running = workers.map(|worker| scope.spawn(|| worker.run()));
            while came.count() < MESSAGES {
                thread::yield_now();
            }
            stoppers.iter().for_each(|stopper| stopper.stop());
            running.into_iter().for_each(|worker| worker.join().unwrap().unwrap());
        });
        written.unwrap()
    });
    assert!(came.audit(&written).iter().all(|times| *times == 1));
    assert!(post.seen("receipt").await.is_empty());
}
