//! Somebody has locked the row of a message, and keeps it: that holds up this message, and no other one.

use crate::outbox::post::{Post, blocking_pool, diesel_pool, sqlx_pool};
use std::{
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};
use tokio::{runtime::Handle, task::block_in_place};
use txsafe_diesel::{Message, NewMessage};

/// Longer than a busy machine keeps a worker from renewing it in time.
const LEASE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_secs(3_600);

/// Locks the row of one message, until [`unlock`].
async fn lock(post: &Post, key: &str) {
    let lock = format!("BEGIN; SELECT 1 FROM txsafe_outbox WHERE key = '{key}' FOR UPDATE");
    post.execute(&lock).await;
}

async fn unlock(post: &Post) {
    post.execute("COMMIT").await;
}

fn message(key: &str) -> NewMessage {
    NewMessage::new("receipt", "{}").key(key)
}

/// Notes the key of a delivery that was dropped, or has ended.
struct Dropped<'a>(String, &'a Mutex<Vec<String>>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(std::mem::take(&mut self.0));
    }
}

/// The cases, for one driver.
macro_rules! cases {
    ($module:ident, $driver:ident, $pool:ident) => {
        mod $module {
            use super::*;
            use std::sync::atomic::{AtomicUsize, Ordering};
            use tokio::sync::Semaphore;
            use $driver::{Database, Error};

            async fn written(post: &Post, keys: &[&str]) -> Database {
                let db = Database::builder($pool(post.url())).build().unwrap();
                let written = db.transaction("write", async |mut tx| {
                    for key in keys {
                        tx.outbox_message(message(key)).await?;
                    }
                    Ok::<_, Error>(())
                });
                written.await.unwrap();
                db
            }

            #[tokio::test]
            async fn the_others_that_ended_with_it_are_marked() {
                let post = Post::open("mark").await;
                let keys = ["locked", "a", "b", "c"];
                let db = written(&post, &keys).await;
                let (begun, gate, deliveries) =
                    (Semaphore::new(0), Semaphore::new(0), AtomicUsize::new(0));
                let worker =
                    db.outbox().worker().poll_interval(POLL).deliver("receipt", async |_| {
                        begun.add_permits(1);
                        gate.acquire().await.unwrap().forget();
                        deliveries.fetch_add(1, Ordering::Relaxed);
                    });
                let stop = async {
                    begun.acquire_many(keys.len() as u32).await.unwrap().forget();
                    lock(&post, "locked").await;
                    // More than are needed, so that who delivers one again is seen.
                    gate.add_permits(2 * keys.len());
                    while post.seen("receipt").await.len() > 1 {}
                    unlock(&post).await;
                };
                worker.build().unwrap().run_until(stop).await.unwrap();
                assert_eq!(post.seen("receipt").await, [], "it is marked once it is free");
                assert_eq!(deliveries.into_inner(), keys.len(), "each was delivered once");
            }

            #[tokio::test]
            async fn the_others_that_are_slow_with_it_are_renewed() {
                let post = Post::open("renewal").await;
                let db = written(&post, &["locked", "free"]).await;
                let (begun, gate) = (Semaphore::new(0), Semaphore::new(0));
                let over = Mutex::new(Vec::new());
                let worker = db.outbox().worker().lease(LEASE).timeout(HOUR).poll_interval(POLL);
                let worker = worker.deliver("receipt", async |message: Message| {
                    let _over = Dropped(message.key().into(), &over);
                    begun.add_permits(1);
                    gate.acquire().await.unwrap().forget();
                });
                let mut broken_off = Vec::new();
                let stop = async {
                    begun.acquire_many(2).await.unwrap().forget();
                    lock(&post, "locked").await;
                    post.until_leases_would_have_ended(LEASE).await;
                    broken_off.clone_from(&over.lock().unwrap());
                    unlock(&post).await;
                    gate.add_permits(9);
                    post.until_empty("receipt").await;
                };
                worker.build().unwrap().run_until(stop).await.unwrap();
                assert_eq!(broken_off, ["locked"], "nobody knows whose it is when it is free");
            }
        }
    };
}

cases!(diesel_async, txsafe_diesel, diesel_pool);
cases!(sqlx, txsafe_sqlx, sqlx_pool);

#[tokio::test(flavor = "multi_thread")]
async fn threads_whose_marks_it_holds_up_renew_the_others_in_time() {
    use txsafe_diesel::{Error, blocking::Database};

    let post = Post::open("threads").await;
    let runtime = Handle::current();
    let deliveries = block_in_place(|| {
        let dbs = [(); 2].map(|()| Database::builder(blocking_pool(post.url())).build().unwrap());
        let written = dbs[0].transaction("write", |mut tx| {
            ["locked", "slow"].into_iter().try_for_each(|key| {
                tx.outbox_message(message(key))?;
                Ok::<_, Error>(())
            })
        });
        written.unwrap();
        let (begun, begins) = mpsc::channel();
        let [one, two] = dbs.each_ref().map(|db| {
            let worker = db.outbox().worker().lease(LEASE).poll_interval(POLL);
            let worker = worker.deliver("receipt", |message: Message| {
                let (go, gone) = mpsc::channel::<()>();
                begun.send((message.key().to_owned(), go)).unwrap();
                // Until its sender is dropped.
                gone.recv().unwrap_err();
            });
            worker.build().unwrap()
        });
        let stoppers = [one.stopper(), two.stopper()];
        thread::scope(|scope| {
            let one = scope.spawn(|| one.run());
            let mut under_way: Vec<_> = begins.iter().take(2).collect();
            let two = scope.spawn(|| two.run());
            runtime.block_on(lock(&post, "locked"));
            under_way.retain(|(key, _)| key == "slow");
            // The leases of now have ended by then, and the one that is slow would be the other worker's.
            runtime.block_on(post.until_leases_would_have_ended(LEASE));
            let twice: Vec<_> = begins.try_iter().map(|(key, _)| key).collect();
            runtime.block_on(unlock(&post));
            drop(under_way);
            // It couldn't be marked while it was locked.
            let mut again = Vec::new();
            while !runtime.block_on(post.seen("receipt")).is_empty() {
                again.extend(begins.try_iter().map(|(key, _)| key));
            }
            stoppers.iter().for_each(|stopper| stopper.stop());
            one.join().unwrap().unwrap();
            two.join().unwrap().unwrap();
            (twice, again)
        })
    });
    assert_eq!(deliveries, (vec![], vec!["locked".into()]), "two deliver it at the same time");
}
