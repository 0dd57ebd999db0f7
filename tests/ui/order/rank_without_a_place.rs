//! Coupons aren't listed in the order.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let _tx = tx.at::<Coupon>();
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
