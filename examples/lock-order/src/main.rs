//! Eight workers run the shop at once, over few rows of a real server. Then it says what the lock order was good for.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line talks that way")]

use anyhow::{Result, bail, ensure};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection, pooled_connection::deadpool::Pool};
use fastrand::Rng;
use lock_order::{
    ShopOrder, TABLES, cancel_order, check_books, close_books, place_order, refund_last_order,
    ship_order, transfer,
};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};
use tokio::task::JoinSet;
use txsafe_diesel::{Cause, Database, LockGraph, LockOrder, Report, manager};
use txsafe_testkit::Postgres;

const WORKERS: u64 = 8;
const ROUNDS: usize = 20;

#[tokio::main]
async fn main() -> Result<()> {
    let schema = Postgres::shared().await?.schema("shop").await?;
    let (graph, trouble) = (LockGraph::new(), Arc::new(Trouble::default()));
    let db = open(schema.url(), graph.clone(), Arc::clone(&trouble)).await?;

    let committed = rush_hour(&db).await?;
    check_books(&mut *db.pool().get().await?).await?;
    show_rush_hour(committed, &trouble)?;
    if let Some(inversion) = graph.inversions().first() {
        bail!("nobody should have locked against the order: {inversion}");
    }

    println!("The order, as it is declared (Mermaid draws it):\n\n{}", ShopOrder::MERMAID);
    refund_last_order(&db, 1).await?;
    check_books(&mut *db.pool().get().await?).await?;
    show_inversion(&graph)
}

async fn open(url: &str, graph: LockGraph, trouble: Arc<Trouble>) -> Result<Database<ShopOrder>> {
    let pool: Pool<AsyncPgConnection> = Pool::builder(manager(url)).max_size(8).build()?;
    let db = Database::builder(pool)
        .service("shop")
        .lock_order::<ShopOrder>()
        .lock_graph(graph)
        // A service leaves it on. Here, short timeouts would end a circle before the server has looked for one.
        .adaptive_lock_timeout(false)
        .on_report(move |report| trouble.note(report))
        .build()?;
    db.pool().get().await?.batch_execute(TABLES).await?;
    Ok(db)
}

/// How many transactions were committed.
async fn rush_hour(db: &Database<ShopOrder>) -> Result<usize> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        workers.spawn(work(db.clone(), Rng::with_seed(worker)));
    }
    workers.join_all().await.into_iter().sum()
}

async fn work(db: Database<ShopOrder>, mut dice: Rng) -> Result<usize> {
    let mut committed = 0;
    for _ in 0..ROUNDS {
        let customer = dice.i64(1..=3);
        let order = place_order(&db, customer, &dice.choose_multiple(1..=4, 3)).await?;
        match dice.bool() {
            true => ship_order(&db, order).await?,
            false => cancel_order(&db, customer, order).await?,
        }
        transfer(&db, customer, dice.i64(1..=3), 10).await?;
        close_books(&db, customer, dice.i64(1..=4)).await?;
        committed += 4;
    }
    Ok(committed)
}

fn show_rush_hour(committed: usize, trouble: &Trouble) -> Result<()> {
    let (retries, deadlocks) = (trouble.retries.load(Relaxed), trouble.deadlocks.load(Relaxed));
    ensure!(deadlocks == 0, "{deadlocks} deadlocks, although everybody kept to the order");
    println!(
        "Rush hour: {WORKERS} workers over 3 customers, 4 items and 4 accounts.

  committed  {committed:>4}
  retries    {retries:>4}
  deadlocks  {deadlocks:>4}

Nobody waited in a circle, and the books balance.
"
    );
    Ok(())
}

fn show_inversion(graph: &LockGraph) -> Result<()> {
    let inversions = graph.inversions();
    ensure!(inversions.len() == 1, "{} inversions in place of one", inversions.len());
    let inversion = &inversions[0];
    let (held, wanted) = inversion.classes();
    ensure!((&*held, &*wanted) == ("accounts", "orders"), "{inversion}");
    println!(
        "Then one handler refunded an order by plain SQL, which types can't see: the account first.
It ran once and met nobody, so nothing deadlocked. The graph of what was really locked noticed:

{inversion}

The order, as it was observed. Solid is declared, dotted was seen in a run, thick is against it:

{}",
        graph.observed_order().mermaid()
    );
    Ok(())
}

/// What went wrong, and was tried again.
#[derive(Debug, Default)]
struct Trouble {
    retries: AtomicU32,
    deadlocks: AtomicU32,
}

impl Trouble {
    fn note(&self, report: &Report) {
        let deadlocks = report.failures.iter().filter(|failed| failed.cause == Cause::Deadlock);
        self.deadlocks.fetch_add(deadlocks.count() as u32, Relaxed);
        self.retries.fetch_add(report.attempts - 1, Relaxed);
    }
}
