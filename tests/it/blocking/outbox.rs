//! The outbox over deadpool-diesel: written by `interact`, and delivered by async handlers.

use super::{DeadpoolPool, deadpool};
use crate::support::Shop;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use txsafe_diesel::{
    Error, Failure, Message, NoOrder, OUTBOX_SQL,
    blocking::{Database, InteractOutboxWorker},
};

type Db = Database<NoOrder, DeadpoolPool>;

/// A shop with the outbox's table, and two databases on it, as two processes have them.
async fn open(name: &str) -> (Shop, [Db; 2]) {
    let shop = Shop::open(name).await;
    shop.watcher.batch_execute(OUTBOX_SQL).await.unwrap();
    let dbs = [(); 2].map(|()| Database::builder(deadpool(&shop)).build().unwrap());
    (shop, dbs)
}

async fn waiting(shop: &Shop) -> i64 {
    let sql = "SELECT count(*) FROM txsafe_outbox WHERE dead_at IS NULL";
    shop.watcher.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_is_committed_is_delivered_and_what_fails_dies() {
    let (shop, [db, _]) = open("interact_outbox").await;
    let rolled_back = db.interact("order", |mut tx| {
        tx.outbox("receipt", "never")?;
        Err::<(), _>(tx.outbox("", "").unwrap_err())
    });
    rolled_back.await.unwrap_err();
    let written = db.interact("order", |mut tx| {
        tx.outbox("broken", "{}")?;
        tx.outbox("receipt", "7")
    });
    let written = written.await.unwrap();
    let (send, mut came) = mpsc::unbounded_channel();
    let worker: InteractOutboxWorker<'_> = db
        .outbox()
        .worker()
        .max_attempts(1)
        .deliver("broken", async |_| Err("no"))
        .deliver("receipt", async |message: Message| {
            // A handler has the pool, as everybody.
            db.interact("relay", |_tx| Ok::<_, Error>(())).await?;
            send.send(message).map_err(|_| Error::from(Failure::local("nobody listens")))
        })
        .build()
        .unwrap();
    worker.run_until(async { while waiting(&shop).await > 0 {} }).await.unwrap();
    let got = came.recv().await.unwrap();
    assert_eq!((got.key(), got.payload(), got.attempt()), (written.key(), "7", 1));
    assert!(came.try_recv().is_err());
    let dead = db.outbox().dead("broken", 9).await.unwrap();
    assert_eq!((dead.len(), dead[0].error()), (1, "no"));
    assert_eq!(db.outbox().backlog().await.unwrap()[0].dead, 1);
    assert!(db.outbox().requeue("broken", dead[0].key()).await.unwrap());
    assert_eq!(waiting(&shop).await, 1);
}

#[tokio::test]
async fn a_slow_delivery_is_nobody_elses_and_a_dropped_one_the_next_ones() {
    let (shop, dbs) = open("interact_lease").await;
    let written = dbs[0].interact("order", |mut tx| tx.outbox("receipt", "7")).await;
    written.unwrap();
    let (begun, gate) = (Semaphore::new(0), Semaphore::new(0));
    let worker = |db: &Db| {
        let worker = db.outbox().worker().lease(Duration::from_secs(4));
        let worker = worker.poll_interval(Duration::from_millis(10));
        let worker = worker.deliver("receipt", async |_| {
            begun.add_permits(1);
            gate.acquire().await.unwrap().forget();
        });
        worker.build().unwrap()
    };
    let [slow, next] = [&dbs[0], &dbs[1]].map(worker);
    let renewed = async {
        let sql = "SELECT due_at + interval '1 s' FROM txsafe_outbox";
        let past: std::time::SystemTime = shop.watcher.query_one(sql, &[]).await.unwrap().get(0);
        let is_past = async || -> bool {
            let row = shop.watcher.query_one("SELECT clock_timestamp() > $1", &[&past]).await;
            row.unwrap().get(0)
        };
        while !is_past().await {}
    };
    let (killed, dies) = tokio::sync::oneshot::channel::<()>();
    let slow = async {
        tokio::select! {
            ended = slow.run_until(std::future::pending::<()>()) => ended.unwrap(),
            _ = dies => {}
        }
        gate.add_permits(1);
    };
    let over = async {
        renewed.await;
        assert_eq!(begun.available_permits(), 0, "two deliver it at the same time");
        drop(killed);
        while waiting(&shop).await > 0 {}
    };
    let next = async {
        // The slow one has it.
        begun.acquire().await.unwrap().forget();
        next.run_until(over).await.unwrap();
    };
    tokio::join!(slow, next);
    assert_eq!(begun.available_permits(), 1, "by the next one");
}
