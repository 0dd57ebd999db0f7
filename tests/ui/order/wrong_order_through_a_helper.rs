//! The helper locks orders, and a user is locked already.

#[path = "../town.rs"]
mod town;

use town::*;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let tx = tx.at::<User>();
        order_and_user(tx).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
