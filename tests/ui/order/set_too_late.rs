//! A set with a rank that was passed.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::{row, rows};

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let tx = tx.at::<Order>();
        let (_rows, _tx) = tx.lock_all((rows::<UserRow>([1, 2]), row::<OrgRow>(1))).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
