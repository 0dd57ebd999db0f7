//! A worker stops while it waits for the server, and has one connection.

use crate::outbox::post::{Post, Seen, diesel_pool_of, sqlx_pool_of};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Longer than anything in here takes.
const MINUTE: Duration = Duration::from_secs(60);

/// Tells that a delivery was dropped.
struct Dropped<'a>(&'a Semaphore);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// Waits for one.
async fn take(semaphore: &Semaphore) {
    semaphore.acquire().await.unwrap().forget();
}

/// The case, for one driver.
macro_rules! case {
    ($module:ident, $driver:ident, $pool:ident) => {
        #[tokio::test]
        async fn $module() {
            use $driver::{Database, NewMessage};

            let post = Post::open("shutdown").await;
            let db = Database::builder($pool(1, post.url()));
            // Whoever waits for a lock keeps its connection for as long.
            let db = db.lock_timeout(MINUTE).statement_timeout(MINUTE).adaptive_lock_timeout(false);
            let db = db.build().unwrap();
            let written = db.transaction("write", async |mut tx| {
                tx.outbox_message(NewMessage::new("receipt", "{}").key("slow")).await
            });
            written.await.unwrap();
            let (begun, over) = (Semaphore::new(0), Semaphore::new(0));
            let worker = db.outbox().worker().grace(Duration::ZERO);
            let worker = worker.poll_interval(Duration::from_millis(10));
            let worker = worker.deliver("receipt", async |_| {
                let _over = Dropped(&over);
                begun.add_permits(1);
                std::future::pending::<()>().await;
            });
            let stop = async {
                take(&begun).await;
                post.execute("BEGIN; LOCK TABLE txsafe_outbox IN ACCESS EXCLUSIVE MODE").await;
                // The next claim, on the only connection.
                post.until_somebody_waits().await;
            };
            let unlock = async {
                take(&over).await;
                post.execute("COMMIT").await;
            };
            let stopped = worker.build().unwrap();
            tokio::join!(stopped.run_until(stop), unlock).0.unwrap();
            let released = Seen { key: "slow".into(), attempts: 0, is_leased: false, error: None };
            assert_eq!(post.seen("receipt").await, [released]);
        }
    };
}

case!(diesel_async, txsafe_diesel, diesel_pool_of);
case!(sqlx, txsafe_sqlx, sqlx_pool_of);
