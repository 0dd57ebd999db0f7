//! Nothing can be locked before a rank was chosen.

#[path = "../town.rs"]
mod town;

use town::*;
use txsafe_diesel::Locked;

async fn run(db: &Database) -> Result<()> {
    db.transaction("run", async |mut tx| {
        let _user: Locked<UserRow> = tx.lock(5).await?;
        Ok(())
    })
    .await
}

fn main() {
    let _ = run;
}
