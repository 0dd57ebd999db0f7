//! Neither of the two ranks comes before the other.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::{lock_order, row};

lock_order! { pub partial MyOrder: Organization => Order; Organization => User }

async fn run(db: &txsafe_diesel::Database<MyOrder>) -> Result<()> {
    db.transaction("run", async |tx| {
        let (_rows, _tx) = tx.lock_all((row::<OrderRow>(7), row::<UserRow>(1))).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
