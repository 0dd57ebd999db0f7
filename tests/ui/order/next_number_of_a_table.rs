//! A table is no sequence.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let _number = tx.at::<User>().next_in_sequence(1).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
