//! A key alone is no set.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let (_rows, _tx) = tx.lock_all((7, 1)).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
