//! The second turn would begin where the first one ended.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        for _ in 0..2 {
            let _tx = tx.at::<Order>();
        }
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
