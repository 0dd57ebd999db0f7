//! A database that was given no order.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(db: &txsafe_diesel::Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let _tx = tx.at::<User>();
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
