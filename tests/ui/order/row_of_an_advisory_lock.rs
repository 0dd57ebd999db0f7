//! An advisory lock has no rows.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::{lock_order, rank};

rank!(pub Import: advisory 42 as i64);
lock_order! { pub MyOrder: Organization => Import }

async fn run(db: &txsafe_diesel::Database<MyOrder>) -> Result<()> {
    db.transaction("run", async |tx| {
        tx.at::<Import>().will_lock(1)?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
