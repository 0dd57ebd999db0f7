//! The section is that of users.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::Locked;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let _order: Locked<OrderRow> = tx.at::<User>().lock(5).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
