//! How many transactions mark what was delivered: one for all that has ended by then, and none waits for others to end.

use crate::outbox::post::{Post, blocking_pool, diesel_pool, sqlx_pool};
use std::{
    cell::RefCell,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Sender},
    },
};
use tokio::{runtime::Handle, sync::Semaphore, task::block_in_place};

const MESSAGES: usize = 8;

/// What can't be written into an array without care.
fn no_mail(key: &str) -> String {
    format!("{{no, \"{key}\\\"}} 'é'")
}

/// An office where transactions that delete messages are noted.
async fn open(name: &str) -> Post {
    let post = Post::open(name).await;
    post.execute(
        "CREATE TABLE marks (transaction xid8 PRIMARY KEY);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN INSERT INTO marks VALUES (pg_current_xact_id()) ON CONFLICT DO NOTHING; RETURN NULL; END';
         CREATE TRIGGER note AFTER DELETE ON txsafe_outbox FOR EACH ROW EXECUTE FUNCTION note()",
    )
    .await;
    post
}

async fn marks(post: &Post) -> i64 {
    post.count("SELECT count(*) FROM marks").await
}

/// The case, for one driver.
macro_rules! case {
    ($module:ident, $driver:ident, $pool:ident) => {
        #[tokio::test]
        async fn $module() {
            use $driver::{Database, Error, Message};

            let post = open("marks").await;
            let db = Database::builder($pool(post.url())).build().unwrap();
            let written = db.transaction("write", async |mut tx| {
                for n in 0..MESSAGES {
                    tx.outbox("receipt", n.to_string()).await?;
                }
                Ok::<_, Error>(())
            });
            written.await.unwrap();
            let (begun, gate, through) =
                (Semaphore::new(0), Semaphore::new(0), AtomicUsize::new(0));
            let worker = db.outbox().worker().concurrency(MESSAGES);
            let worker = worker.deliver("receipt", async |message: Message| {
                begun.add_permits(1);
                gate.acquire().await.unwrap().forget();
                match through.fetch_add(1, Ordering::Relaxed) {
                    2 | 5 => Err(no_mail(message.key())),
                    _ => Ok(()),
                }
            });
            let stop = async {
                begun.acquire_many(MESSAGES as u32).await.unwrap().forget();
                gate.add_permits(1);
                // While all others are under way.
                while post.seen("receipt").await.len() == MESSAGES {}
                assert_eq!(marks(&post).await, 1);
                gate.add_permits(MESSAGES - 1);
            };
            worker.build().unwrap().run_until(stop).await.unwrap();
            assert_eq!(marks(&post).await, 2, "one for all that ended together");
            let failed = post.seen("receipt").await;
            assert_eq!(failed.len(), 2);
            for seen in failed {
                assert_eq!(seen.error, Some(no_mail(&seen.key)));
            }
        }
    };
}

case!(diesel_async, txsafe_diesel, diesel_pool);
case!(sqlx, txsafe_sqlx, sqlx_pool);

thread_local! {
    /// Closed when the thread is gone, and with it whatever its delivery had to say.
    static ALIVE: RefCell<Option<Sender<()>>> = const { RefCell::new(None) };
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking() {
    use txsafe_diesel::{Error, blocking::Database};

    let post = open("marks").await;
    let runtime = Handle::current();
    block_in_place(|| {
        let db = Database::builder(blocking_pool(post.url())).build().unwrap();
        let written = db.transaction("write", |mut tx| {
            (0..MESSAGES).try_for_each(|n| tx.outbox("receipt", n.to_string()).map(drop))
        });
        written.map_err(|error: Error| error.to_string()).unwrap();
        let (begun, begins) = mpsc::channel();
        let worker = db.outbox().worker().concurrency(MESSAGES);
        let worker = worker.deliver("receipt", |_| {
            let (go, gone) = mpsc::channel();
            let (alive, dead) = mpsc::channel();
            ALIVE.set(Some(alive));
            begun.send((go, dead)).unwrap();
            gone.recv().unwrap();
        });
        let worker = worker.build().unwrap();
        let stopper = worker.stopper();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| worker.run());
            let mut all = begins.iter().take(MESSAGES);
            let (go, _): (Sender<()>, mpsc::Receiver<()>) = all.next().unwrap();
            let others: Vec<_> = all.collect();
            // The first mark waits for the table; the others end meanwhile.
            runtime.block_on(async {
                post.execute("BEGIN; LOCK TABLE txsafe_outbox IN EXCLUSIVE MODE").await;
                go.send(()).unwrap();
                post.until_somebody_waits().await;
            });
            for (go, dead) in others {
                go.send(()).unwrap();
                dead.recv().unwrap_err();
            }
            stopper.stop();
            runtime.block_on(post.execute("COMMIT"));
            running.join().unwrap().unwrap();
        });
        assert!(runtime.block_on(post.seen("receipt")).is_empty());
        assert_eq!(runtime.block_on(marks(&post)), 2, "one for all that ended meanwhile");
    });
}
