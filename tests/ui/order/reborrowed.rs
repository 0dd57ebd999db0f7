//! Raised in a block, to fall back behind it: what is locked stays locked.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |mut tx| {
        {
            let _inner = (&mut tx).at::<User>();
        }
        let _tx = tx.at::<Organization>();
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
