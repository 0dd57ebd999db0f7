//! Nobody said which rank a row of coupons belongs to.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::Locked;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let mut tx = tx.at::<User>();
        let _coupon: Option<Locked<CouponRow>> = tx.try_lock_earlier(1).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
