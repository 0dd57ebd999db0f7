//! The outbox in rerun mode: what writes a message is run again, and what delivers it isn't.

use super::{
    driver::{
        DieselAsync, DieselBlocking, Driver, Interact, InteractDb, Settings, Sqlx, sync, write,
    },
    post::{Post, blocking_pool, diesel_pool, sqlx_pool},
};
use deadpool_diesel::postgres::{Manager, Pool as DeadpoolPool};
use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};
use txsafe::guard::Policy;
use txsafe_conformance::findings::only_reruns;
use txsafe_diesel::{WriteEffect, blocking};

/// A sequence counts what is rolled back, too.
const COUNT: &str = "
    CREATE SEQUENCE writes;
    CREATE SEQUENCE claims;
    CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM nextval(TG_ARGV[0]::regclass);
        RETURN new;
    END $$;
    CREATE TRIGGER written BEFORE INSERT ON txsafe_outbox
        FOR EACH ROW EXECUTE FUNCTION count_it('writes');
    CREATE TRIGGER claimed BEFORE UPDATE ON txsafe_outbox
        FOR EACH ROW EXECUTE FUNCTION count_it('claims');
";

/// A second run that differs fails its transaction, and nothing else is looked for.
fn policy() -> Policy {
    only_reruns(Policy::test())
}

async fn delivers_once<D: Driver>(post: &Post, db: D::Db) {
    post.execute(COUNT).await;
    assert_eq!(write(&db, sync("{}")).await, WriteEffect::Inserted);
    assert_eq!(post.count("SELECT last_value FROM writes").await, 2, "its closure ran again");
    let deliveries = Arc::new(AtomicU32::new(0));
    let handler = |_message| -> super::driver::Delivering {
        deliveries.fetch_add(1, Relaxed);
        Box::pin(ready(Ok(())))
    };
    D::deliver(&db, Settings::default(), handler, post.until_empty("sync")).await;
    assert_eq!(deliveries.load(Relaxed), 1);
    assert_eq!(post.count("SELECT last_value FROM claims").await, 1, "the claim is not run again");
}

#[tokio::test]
async fn on_diesel_async() {
    let post = Post::open("rerun_diesel_async").await;
    let db = txsafe_diesel::Database::builder(diesel_pool(post.url()));
    delivers_once::<DieselAsync>(&post, db.guard(policy()).build().unwrap()).await;
}

#[tokio::test]
async fn on_sqlx() {
    let post = Post::open("rerun_sqlx").await;
    let db = txsafe_sqlx::Database::builder(sqlx_pool(post.url()));
    delivers_once::<Sqlx>(&post, db.guard(policy()).build().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_diesel() {
    let post = Post::open("rerun_diesel").await;
    let db = blocking::Database::builder(blocking_pool(post.url()));
    delivers_once::<DieselBlocking>(&post, db.guard(policy()).build().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_deadpool_diesel() {
    let post = Post::open("rerun_interact").await;
    let manager = Manager::new(post.url(), deadpool_diesel::Runtime::Tokio1);
    let pool = DeadpoolPool::builder(manager).max_size(2).build().unwrap();
    let db = blocking::Database::builder(pool).guard(policy()).build().unwrap();
    delivers_once::<Interact>(&post, InteractDb(db)).await;
}
