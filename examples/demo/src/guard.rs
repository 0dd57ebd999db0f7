//! What the guard says of a handler before and after it was mended, and what the cure is worth to others.

mod told;

use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use diesel::QueryResult;
use diesel_async::{
    AsyncPgConnection, SimpleAsyncConnection as _, pooled_connection::deadpool::Pool,
};
use tokio::{sync::watch, task::JoinSet};
use txsafe_diesel::{
    Database,
    guard::{Code, Finding, Policy},
};

use crate::{
    error::Error,
    payments::Payments,
    screen::Screen,
    shop::{Shop, refused},
    tally::Latencies,
    tickets::{TABLES, change_seats, sell_inside, sell_outside},
};

pub(crate) use told::{Numbers, explain, violations};

/// So many tickets are sold either way.
const TICKETS: u32 = 10;

/// Tickets sold, and what was seen meanwhile.
#[derive(Debug)]
pub(crate) struct Sale {
    pays: Pays,
    /// What the guard told. The same thing at the same place it tells once.
    findings: Vec<Finding>,
    /// How long another handler waited, which wants the same row whenever the provider is asked.
    others: Latencies,
}

/// Where the handler waits for the payment provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pays {
    /// While its transaction is open.
    Inside,
    /// Before it, and after it committed.
    Outside,
}

impl Sale {
    /// Whether the guard tells of the one handler that it waits, and of the other nothing.
    pub(crate) fn is_as_promised(&self) -> bool {
        match self.pays {
            Pays::Inside => self.findings.iter().any(|found| found.code == Code::ExternalWait),
            Pays::Outside => self.findings.is_empty(),
        }
    }
}

/// Sells tickets with either handler.
pub(crate) async fn watch(shop: &Shop, screen: &Screen) -> Result<Vec<Sale>, Error> {
    const DOING: &str = "create its tables";
    screen.note("  guard selling tickets, the card charged inside the transaction and outside");
    let mut conn = shop.connect(DOING).await?;
    conn.batch_execute(TABLES).await.map_err(refused(DOING))?;
    let mut sales = Vec::new();
    for pays in [Pays::Inside, Pays::Outside] {
        sales.push(sell(pays, shop).await?);
    }
    Ok(sales)
}

async fn sell(pays: Pays, shop: &Shop) -> Result<Sale, Error> {
    const DOING: &str = "sell tickets";
    let failed =
        |error: &dyn fmt::Display| Error::Refused { doing: DOING, message: error.to_string() };
    // A guard of its own, which hasn't told anything yet.
    let told = Arc::default();
    let pool = Pool::builder(txsafe_diesel::manager(shop.url())).max_size(1).build();
    let pool = pool.map_err(|error| failed(&error))?;
    let db =
        Database::builder(pool).guard(telling(&told)).build().map_err(|error| failed(&error))?;

    let payments = Payments::open().await.map_err(Error::NoPort)?;
    // Ends with this value, also where the demo is interrupted.
    let mut other = JoinSet::new();
    other.spawn(change_whenever(payments.asked(), shop.connect(DOING).await?));
    for _ in 0..TICKETS {
        let sold = match pays {
            Pays::Inside => sell_inside(&db, &payments).await,
            Pays::Outside => sell_outside(&db, &payments).await,
        };
        sold.map_err(|error| failed(&error))?;
    }
    drop(payments);
    let others = match other.join_next().await {
        Some(Ok(latencies)) => latencies.map_err(refused(DOING))?,
        Some(Err(_)) | None => return Err(Error::Panicked("who changes the seats".to_owned())),
    };
    let findings = mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Sale { pays, findings, others })
}

/// As in staging, where each wait counts. Development also looks at the clocks of threads, and what a busy machine does to
/// them is not what this is about.
fn telling(told: &Arc<Mutex<Vec<Finding>>>) -> Policy {
    let told = Arc::clone(told);
    Policy::staging().on_finding(move |finding| {
        told.lock().unwrap_or_else(PoisonError::into_inner).push(finding.clone());
    })
}

/// The other handler. It wants the row that is sold from whenever the provider is asked for something, until that closes.
async fn change_whenever(
    mut asked: watch::Receiver<()>,
    mut conn: AsyncPgConnection,
) -> QueryResult<Latencies> {
    let mut latencies = Latencies::new();
    while asked.changed().await.is_ok() {
        let start = Instant::now();
        change_seats(&mut conn, 1).await?;
        latencies.record(start.elapsed());
    }
    Ok(latencies)
}
