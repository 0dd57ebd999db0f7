//! A savepoint that is rolled back gives its locks back.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::Locked;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |tx| {
        let mut kept: Option<Locked<UserRow>> = None;
        let mut tx = tx.at::<User>();
        tx.savepoint(async |mut tx| {
            kept = Some(tx.lock(5).await?);
            Ok::<_, txsafe_diesel::Error>(())
        })
        .await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
