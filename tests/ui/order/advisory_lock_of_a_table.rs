//! A table is locked by its rows.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        tx.at::<User>().advisory_lock(1).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
