//! In a partial order, these two are never locked together.

#[path = "../town.rs"]
mod town;

use town::*;
txsafe_diesel::lock_order! {
    pub partial Diamond: Organization => Order => Coupon; Organization => User => Coupon
}

async fn run(db: &txsafe_diesel::Database<Diamond>) -> Result<()> {
    db.transaction("run", async |tx| {
        let tx = tx.at::<Order>();
        let _tx = tx.at::<User>();
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
