//! Sells a ticket before and after, and prints what the guard says.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line talks that way")]

use anyhow::{Context, Result, ensure};
use guarded_service::{CONCERT, Payments, Provider, Shop, TABLES};
use sqlx::{PgPool, query, raw_sql};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use txsafe_sqlx::{
    Database, Report,
    guard::{Finding, Policy, Times},
};
use txsafe_testkit::Postgres;

/// A provider on a good day.
const TAKES: Duration = Duration::from_millis(80);

#[tokio::main]
async fn main() -> Result<()> {
    let schema = Postgres::shared().await?.schema("tickets").await?;
    let pool = PgPool::connect_lazy(schema.url())?;
    raw_sql(TABLES).execute(&pool).await?;
    let provider = Provider::start(TAKES).await?;
    let (db, mut findings, mut reports) = open(pool.clone())?;
    let shop = Shop::open(db, Payments::connect(provider.url()).await?).await?;

    println!("BEFORE: the card is charged, and the receipt sent, inside the transaction.\n");
    let waited = buy(&format!("{shop}/before"), &provider, &pool).await?;
    for _ in ["the charge", "the receipt"] {
        println!("{}\n", findings.recv().await.context("no finding")?);
    }
    show(waited, times(&mut reports)?);

    println!("\nAFTER: the money is reserved before, and taken behind, by `tx.after_commit`.\n");
    let waited = buy(&format!("{shop}/after"), &provider, &pool).await?;
    let after = times(&mut reports)?;
    ensure!(after.external.is_zero() && findings.is_empty(), "{after}");
    println!("No finding.\n");
    show(waited, after);
    Ok(())
}

type Told = (Database, UnboundedReceiver<Finding>, UnboundedReceiver<Report>);

/// A database whose guard tells a developer what it finds. A service leaves out `on_finding` and has it in its log.
fn open(pool: PgPool) -> Result<Told> {
    let (finding, findings) = unbounded_channel();
    let (report, reports) = unbounded_channel();
    let policy = Policy::dev().on_finding(move |found| drop(finding.send(found.clone())));
    let db = Database::builder(pool)
        .service("tickets")
        .guard(policy)
        // Each transaction is worth a report here.
        .slow_after(Duration::ZERO)
        .on_report(move |told| drop(report.send(told.clone())))
        .build()?;
    Ok((db, findings, reports))
}

/// Buys a ticket. How long somebody else waited, who wanted the row of the concert just when the provider was asked.
async fn buy(url: &str, provider: &Provider, pool: &PgPool) -> Result<Duration> {
    let bought = async { anyhow::Ok(reqwest::Client::new().post(url).send().await?) };
    let returned = async {
        provider.asked().await;
        let start = Instant::now();
        let sql = "UPDATE concerts SET seats_left = seats_left + 1 WHERE id = $1";
        query(sql).bind(CONCERT).execute(pool).await?;
        anyhow::Ok(start.elapsed())
    };
    let (bought, waited) = tokio::try_join!(bought, returned)?;
    bought.error_for_status()?;
    Ok(waited)
}

fn times(reports: &mut UnboundedReceiver<Report>) -> Result<Times> {
    reports.try_recv().ok().and_then(|report| report.trail.times()).context("no report")
}

fn show(waited: Duration, times: Times) {
    println!("  the transaction         {times}");
    println!("  who wanted its row      waited {:.1} ms", waited.as_secs_f64() * 1e3);
}
