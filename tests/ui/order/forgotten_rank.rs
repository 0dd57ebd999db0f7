//! Nothing is locked at no rank.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |mut tx| {
        tx.lock::<UserRow>(5).await?;
        tx.advisory_lock(5).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
