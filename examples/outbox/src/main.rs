//! Receipts that are sent once their order is there, although their sender is killed, on SQLx.
//!
//! A shop takes orders, and some are rolled back. The first worker is killed in the midst of its deliveries. The second one
//! goes on where the first has been; what it can't know to have been sent it sends again, and the customer's mailbox tells
//! that by the key. One address doesn't exist, and its receipt ends among the dead.

#![expect(clippy::print_stdout, reason = "a command line talks that way")]

use anyhow::{Result, bail, ensure};
use sqlx::{postgres::PgPoolOptions, query, query_scalar, raw_sql};
use std::{
    collections::HashMap,
    future::pending,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, task::yield_now};
use txsafe_sqlx::{Database, Message, OUTBOX_SQL, OutboxWorker};
use txsafe_testkit::Postgres;

const ORDERS: i64 = 30;

#[tokio::main]
async fn main() -> Result<()> {
    let schema = Postgres::shared().await?.schema("outbox").await?;
    let db = open(schema.url()).await?;
    let mailbox = Mailbox::default();
    for order in 1..=ORDERS {
        // One in five is refused after its receipt was written, and the receipt is gone with it.
        let _ = place_order(&db, order, order % 5 != 0).await;
    }
    let placed: i64 = query_scalar("SELECT count(*) FROM orders").fetch_one(db.pool()).await?;
    println!("{placed} orders were placed, and {} were rolled back.", ORDERS - placed);

    let first = worker(&db, &mailbox)?;
    tokio::select! {
        ended = first.run_until(pending::<()>()) => ended?,
        () = mailbox.until(placed / 2) => {}
    }
    let so_far = mailbox.sent();
    println!("The first worker was killed after {so_far} receipts had left.");

    // Its leases end after a second.
    worker(&db, &mailbox)?.run_until(until_delivered(&db)).await?;
    let (receipts, repeated) = mailbox.count();
    println!(
        "The second one sent {} more. {receipts} customers have a receipt;",
        mailbox.sent() - so_far
    );
    println!("{repeated} got it twice, and knew the second one by its key.");
    for dead in db.outbox().dead("receipt", 10).await? {
        println!("Given up after {} attempts: {}", dead.message().attempt(), dead.error());
    }
    ensure!(receipts == placed - 1, "a receipt is missing");
    Ok(())
}

async fn open(url: &str) -> Result<Database> {
    let pool = PgPoolOptions::new().max_connections(8).connect_lazy(url)?;
    // A program that has migrations puts both into one.
    raw_sql(OUTBOX_SQL).execute(&pool).await?;
    raw_sql("CREATE TABLE orders (id bigint PRIMARY KEY)").execute(&pool).await?;
    Ok(Database::builder(pool).service("shop").build()?)
}

/// An order and its receipt: both, or none.
async fn place_order(db: &Database, order: i64, is_paid: bool) -> Result<()> {
    db.transaction("place_order", async |mut tx| {
        query("INSERT INTO orders VALUES ($1)").bind(order).execute(&mut tx).await?;
        tx.outbox("receipt", order.to_string()).await?;
        ensure!(is_paid, "the card was refused");
        Ok(())
    })
    .await
}

/// What runs in a process of its own, or beside the handlers.
fn worker<'a>(db: &Database, mailbox: &'a Mailbox) -> Result<OutboxWorker<'a>> {
    let worker = db
        .outbox()
        .worker()
        .lease(Duration::from_secs(1))
        .poll_interval(Duration::from_millis(100))
        .max_attempts(3)
        .min_pause(Duration::from_millis(10))
        .max_pause(Duration::from_millis(100))
        .deliver("receipt", async |message| mailbox.send(message).await);
    Ok(worker.build()?)
}

/// Nothing waits any more.
async fn until_delivered(db: &Database) {
    let sql = "SELECT count(*) FROM txsafe_outbox WHERE dead_at IS NULL";
    while query_scalar::<_, i64>(sql).fetch_one(db.pool()).await.is_ok_and(|waiting| waiting > 0) {
        yield_now().await;
    }
}

/// Where receipts arrive: how often each one did, by its key.
#[derive(Debug, Default)]
struct Mailbox {
    receipts: Mutex<HashMap<String, i64>>,
    arrived: Notify,
}

impl Mailbox {
    async fn send(&self, message: Message) -> Result<()> {
        if message.payload() == "13" {
            bail!("order 13 has no such address");
        }
        *self.lock().entry(message.key().to_owned()).or_default() += 1;
        self.arrived.notify_one();
        // The mail has left, and its answer takes a while.
        yield_now().await;
        Ok(())
    }

    async fn until(&self, many: i64) {
        while self.sent() < many {
            self.arrived.notified().await;
        }
    }

    /// How many receipts have left.
    fn sent(&self) -> i64 {
        self.lock().values().sum()
    }

    /// How many there are, and how many of them came again.
    fn count(&self) -> (i64, i64) {
        let receipts = self.lock();
        (receipts.len() as i64, receipts.values().filter(|times| **times > 1).count() as i64)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, i64>> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
