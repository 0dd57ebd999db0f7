//! What claims and marks read of a table that is long, by the server's own account: what they are about, and nothing else.

use crate::outbox::post::{Post, diesel_pool, sqlx_pool};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use txsafe_testkit::Postgres;

/// Messages that are due.
const DUE: usize = 200;

/// Of each kind that is not.
const OTHERS: i64 = 10_000;

/// Far longer than a session takes to tell the server what it did.
const LONGEST: Duration = Duration::from_secs(60);

/// A table in which few messages are due: others were delivered, are dead, come later, or are of another topic. Its server
/// is its own, because what is open elsewhere would keep vacuum from the delivered.
async fn full(server: &Postgres, name: &str) -> Post {
    let post = Post::on(server, name).await;
    let rows = |n: i64, topic: &str, due: &str, dead: &str| {
        format!(
            "INSERT INTO txsafe_outbox (topic, payload, due_at, dead_at)
             SELECT '{topic}', '', now() + {due}, {dead} FROM generate_series(1, {n});"
        )
    };
    post.execute(&rows(OTHERS, "receipt", "interval '0'", "NULL")).await;
    post.execute("DELETE FROM txsafe_outbox").await;
    post.execute(&rows(OTHERS, "receipt", "interval '0'", "now()")).await;
    post.execute(&rows(OTHERS, "receipt", "interval '1 day'", "NULL")).await;
    post.execute(&rows(OTHERS, "invoice", "interval '0'", "NULL")).await;
    post.execute(&rows(DUE as i64, "receipt", "interval '0'", "NULL")).await;
    post.execute("VACUUM ANALYZE txsafe_outbox").await;
    post
}

/// What the server counts, once it has counted everything: each session tells it now and then, and at its end. It counts
/// also what was rolled back.
async fn counted(post: &Post, deleted: i64, what: &str) -> i64 {
    let told = "SELECT count(*) FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = 'txsafe_outbox'";
    let told = format!("{told} AND n_tup_del >= {deleted} AND n_tup_upd >= {}", deleted - OTHERS);
    let begun = Instant::now();
    while post.count(&told).await == 0 {
        assert!(begun.elapsed() < LONGEST, "the server wasn't told of {deleted} deleted rows");
    }
    post.count(what).await
}

/// The case, for one driver.
macro_rules! case {
    ($module:ident, $driver:ident, $pool:ident) => {
        #[tokio::test]
        async fn $module() {
            use $driver::Database;

            let scans = "SELECT seq_scan FROM pg_stat_user_tables \
                WHERE schemaname = current_schema() AND relname = 'txsafe_outbox'";
            let entries = "SELECT idx_tup_read FROM pg_stat_user_indexes \
                WHERE schemaname = current_schema() AND indexrelname = 'txsafe_outbox_due'";
            let server = Postgres::start().await.unwrap();
            let post = full(&server, "plan").await;
            let scans_before = counted(&post, OTHERS, scans).await;
            let db = Database::builder($pool(post.url())).build().unwrap();
            let (delivered, all) = (AtomicUsize::new(0), Notify::new());
            // Often enough that a server which plans a prepared statement once and for all does so.
            let worker = db.outbox().worker().concurrency(4).deliver("receipt", async |_| {
                if delivered.fetch_add(1, Ordering::Relaxed) + 1 == DUE {
                    all.notify_one();
                }
            });
            worker.build().unwrap().run_until(all.notified()).await.unwrap();
            drop(db);
            let deleted = OTHERS + DUE as i64;
            assert_eq!(
                counted(&post, deleted, scans).await,
                scans_before,
                "the whole table was read"
            );
            let read = counted(&post, deleted, entries).await;
            assert!(read < OTHERS, "{read} entries of the index for {DUE} messages");
        }
    };
}

case!(diesel_async, txsafe_diesel, diesel_pool);
case!(sqlx, txsafe_sqlx, sqlx_pool);
