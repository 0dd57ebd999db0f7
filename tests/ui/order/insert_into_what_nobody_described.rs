//! Nobody said what its foreign keys point at.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::ranked;

ranked!(orders::table => Order);

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let _insert = tx.insert_into(orders::table, ());
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
